// A console in a frame: first the PIN, then prompt and output.
const HISTORY = `aserve-history:${settings.command_url}`;
const MOST_HISTORY = 200;

function history() {
  try {
    return JSON.parse(sessionStorage.getItem(HISTORY)) ?? [];
  } catch {
    return [];
  }
}

function remember(code) {
  const lines = history().filter((line) => line !== code);
  try {
    sessionStorage.setItem(HISTORY, JSON.stringify([...lines, code].slice(-MOST_HISTORY)));
  } catch { /* full, or forbidden: then there is none */ }
}

class Console {
  constructor(frame) {
    this.frame = Number(frame.dataset.frame);
    const template = document.getElementById("console");
    this.section = template.content.firstElementChild.cloneNode(true);
    [this.output, this.pin, this.prompt, this.matches] = this.section.children;
    this.field = this.prompt.querySelector("textarea");
    this.at = null; // where in the history
    this.asking = new PinForm(this.pin);
    whenUnlocked.add(() => this.show(this.section.contains(document.activeElement)));
    this.prompt.addEventListener("submit", (event) => event.preventDefault());
    this.field.addEventListener("input", () => { this.isLeaving = false; this.fit(); });
    this.field.addEventListener("keydown", (event) => this.press(event));
    this.section.addEventListener("click", () => {
      if (getSelection().isCollapsed && !this.prompt.hidden) this.field.focus();
    });
    (frame.querySelector(":scope > .body") ?? frame).append(this.section);
    this.show();
  }

  /** The PIN or the prompt, whichever is due. */
  show(mustFocus = true) {
    const wasHidden = this.pin.hidden;
    this.pin.hidden = isUnlocked;
    this.prompt.hidden = !isUnlocked;
    if (isUnlocked) {
      if (mustFocus) this.field.focus();
      return;
    }
    if (wasHidden) this.asking.begin();
    else this.asking.input.focus();
  }

  write(text, kind) {
    if (!text) return;
    this.output.append(make("div", { className: kind }, text.replace(/\n$/, "")));
    this.output.scrollTop = this.output.scrollHeight;
  }

  set(text, at = text.length) {
    this.field.value = text;
    this.field.setSelectionRange(at, at);
    this.fit();
  }

  fit() {
    const lines = this.field.value.split("\n").length;
    this.prompt.firstElementChild.textContent = [">>>", ...Array(lines - 1).fill("...")].join("\n");
    this.field.style.height = "auto"; // by script, so the policy allows it
    this.field.style.height = `${this.field.scrollHeight}px`;
    this.matches.hidden = true;
  }

  press(event) {
    const { selectionStart: start, value } = this.field;
    if (event.isComposing || event.ctrlKey || event.altKey || event.metaKey) return;
    const before = value.slice(0, start);
    if (event.key === "Enter" && !event.shiftKey) this.run();
    else if (event.key === "ArrowUp" && !before.includes("\n")) this.recall(-1);
    else if (event.key === "ArrowDown" && !value.slice(start).includes("\n")) this.recall(1);
    else if (event.key === "Escape") this.leave();
    else if (event.key === "Tab" && !event.shiftKey && before.trim() && !this.isLeaving) {
      this.complete(before);
    } else return; // Tab on an empty prompt leaves it, as everywhere
    event.preventDefault();
  }

  /** From here on Tab goes to the next element, until something is typed. */
  leave() {
    this.isLeaving = true;
    this.matches.hidden = true;
  }

  recall(step) {
    const lines = history();
    this.at = Math.min(Math.max((this.at ?? lines.length) + step, 0), lines.length);
    this.set(lines[this.at] ?? "");
  }

  async run() {
    // Blanks at the end are only an indent that nothing came after.
    const code = this.field.value.replace(/[ \t]+$/, "");
    if (this.isBusy) return;
    this.isBusy = this.field.readOnly = true;
    try {
      const { output, more } = await ask("eval", { frame: this.frame, code });
      if (more) {
        const last = code.trimEnd().split("\n").at(-1);
        const indent = /^\s*/.exec(last)[0] + (last.endsWith(":") ? "    " : "");
        this.set(`${code}\n${indent}`);
        return;
      }
      this.echo(code);
      this.write(output, "result");
      if (code.trim()) remember(code.trimEnd());
      this.at = null;
      this.set("");
    } catch (error) {
      if (error.reason === "pin") {
        isUnlocked = false;
        this.show();
      } else {
        this.echo(code);
        this.write(error.message, "error");
      }
    } finally {
      this.isBusy = this.field.readOnly = false;
    }
  }

  echo(code) {
    this.write(code.trimEnd().split("\n").map((line, at) => (at ? "... " : ">>> ") + line)
      .join("\n"), "input");
  }

  async complete(before) {
    // The server counts characters, and not halves of pairs.
    const { matches, start } = await ask("complete", { frame: this.frame, text: before })
      .catch(() => ({ matches: [] }));
    if (!matches.length || !this.field.value.startsWith(before)) {
      if (!before.split("\n").at(-1).trim()) this.field.setRangeText("    ", before.length, before.length, "end");
      return;
    }
    let common = matches[0];
    for (const match of matches) while (!match.startsWith(common)) common = common.slice(0, -1);
    const text = [...before].slice(0, start).join("") + common;
    this.set(text + this.field.value.slice(before.length), text.length);
    this.matches.hidden = matches.length === 1;
    this.matches.textContent = matches.join("   ");
  }

  /** Its frame is not there any more. */
  end(text) {
    this.write(text, "error");
    this.field.disabled = true;
  }
}

const consoles = new Map();

/** Open the console of a frame, or go to it. */
function openConsole(frame) {
  const details = frame.querySelector(":scope > .body");
  if (details) details.open = true;
  if (consoles.has(frame)) consoles.get(frame).show();
  else consoles.set(frame, new Console(frame));
}
