// What all pages of aserve have: settings, elements, copies, colours of the code, ways for the keyboard.
const settings = JSON.parse(document.getElementById("settings").textContent);
const root = document.documentElement;

/** An element; strings among the children become text. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

async function copy(text, button) {
  let isDone = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Only secure origins have a clipboard; the old way is left for the others.
    const field = make("textarea", { value: text, className: "unseen" });
    document.body.append(field);
    field.select();
    isDone = document.execCommand("copy");
    field.remove();
    button.focus();
  }
  button.dataset.text ??= button.textContent;
  button.textContent = isDone ? "Copied" : "Cannot copy";
  setTimeout(() => { button.textContent = button.dataset.text; }, 1500);
}

/** Colour Python without touching the document: where highlights are unknown, there are none. */
function colour() {
  if (!globalThis.Highlight || matchMedia("(forced-colors: active)").matches) return;
  const words = "False|None|True|and|as|assert|async|await|break|case|class|continue|def|del|elif|"
    + "else|except|finally|for|from|global|if|import|in|is|lambda|match|nonlocal|not|or|pass|"
    + "raise|return|try|while|with|yield";
  const tokens = new RegExp(
    /(?<comment>#[^\n]*)|(?<string>(?<!\w)[rbfut]{0,2}(?:"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?))/i
      .source + `|(?<keyword>\\b(?:${words})\\b)|(?<number>\\b\\d[\\w.]*)|\\w+`, "gi");
  const kinds = { comment: new Highlight(), string: new Highlight(), keyword: new Highlight(),
    number: new Highlight() };
  for (const code of document.querySelectorAll('[data-kind="python"] .source code')) {
    const walk = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
    const pieces = [];
    for (let length = 0; walk.nextNode(); length += walk.currentNode.length) {
      pieces.push([length, walk.currentNode]);
    }
    const place = (at) => pieces.findLast(([start]) => start <= at);
    const text = code.textContent;
    // An odd number of these: the excerpt begins or ends within a string.
    const quotes = [...text.matchAll(/"""|'''/g)];
    const failing = code.querySelector(".failing");
    const failingAt = failing ? text.indexOf(failing.textContent) : text.length;
    const isWithin = quotes.length % 2 === 1 && quotes[0].index < failingAt;
    tokens.lastIndex = isWithin ? quotes[0].index + 3 : 0;
    const found = isWithin ? [["string", 0, tokens.lastIndex]] : [];
    for (let token; (token = tokens.exec(text)); ) {
      const kind = Object.keys(kinds).find((name) => token.groups[name] !== undefined);
      // The search is blind to case for prefixes of strings; keywords are not.
      if (kind === "keyword" && !words.split("|").includes(token[0])) continue;
      if (kind) found.push([kind, token.index, tokens.lastIndex]);
    }
    for (const [kind, start, end] of found) {
      const range = new Range();
      const [first, last] = [place(start), place(end - 1)];
      range.setStart(first[1], start - first[0]);
      range.setEnd(last[1], end - last[0]);
      kinds[kind].add(range);
    }
  }
  for (const [name, highlight] of Object.entries(kinds)) CSS.highlights.set(name, highlight);
}

/** Code that fits is no stop on the way of the keyboard. */
function fitStops() {
  for (const block of document.querySelectorAll("pre[tabindex]")) {
    block.tabIndex = block.scrollWidth > block.clientWidth || block.scrollHeight > block.clientHeight
      ? 0 : -1;
  }
}

/** Mark in the outline what is being read. */
function followOutline() {
  const links = new Map([...document.querySelectorAll(".outline a")].map(
    (link) => [document.getElementById(link.hash.slice(1)), link]));
  const watcher = new IntersectionObserver((entries) => {
    const seen = entries.filter((entry) => entry.isIntersecting).at(0);
    if (!seen) return;
    for (const link of links.values()) link.removeAttribute("aria-current");
    links.get(seen.target).setAttribute("aria-current", "true");
  }, { rootMargin: "0px 0px -60% 0px", threshold: 0.1 });
  for (const frame of links.keys()) if (frame) watcher.observe(frame);
}

root.classList.add("live");
colour();
fitStops();
followOutline();
addEventListener("resize", fitStops);
document.addEventListener("toggle", fitStops, true);
