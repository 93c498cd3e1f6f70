// The page: buttons, keys, and what has become of the server.
const frames = () => [...document.querySelectorAll(".frame.user, .frame.chosen")]
  .filter((frame) => frame.checkVisibility());
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let current = document.querySelector(".frame.chosen");

function toggleLibraries(button) {
  const isOpen = button.ariaPressed !== "true";
  button.ariaPressed = String(isOpen);
  for (const run of document.querySelectorAll(".run > details")) run.open = isOpen;
}

async function openFile(button) {
  const text = button.textContent;
  try {
    await askUnlocked("open", { frame: frameOf(button) });
    button.textContent = "Opened";
  } catch (error) {
    button.closest(".frame").querySelector(".body").append(trouble(error));
  }
  setTimeout(() => { button.textContent = text; }, 1500);
}

const help = document.getElementById("help");
const actions = {
  markdown: (button) => copy(settings.markdown, button),
  plain: (button) => copy(document.getElementById("plain").textContent, button),
  libraries: toggleLibraries,
  help: () => help.showModal(),
  "close-help": () => help.close(),
  "close-unlock": () => unlockDialog.close(),
  open: openFile,
  console: (button) => openConsole(button.closest(".frame")),
  expand,
  retry: () => location.reload(),
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button) actions[button.dataset.do](button);
});
document.addEventListener("focusin", (event) => {
  current = event.target.closest(".frame") ?? current;
});
document.addEventListener("toggle", (event) => {
  if (event.target.open && "lazy" in event.target.dataset) load(event.target);
}, true);

/** To the next frame of the project, or with -1 to the one before. */
function go(step) {
  const all = frames();
  const at = all.indexOf(current);
  const next = all[Math.min(Math.max(at + (current?.contains(document.activeElement) ? step : 0), 0),
    all.length - 1)];
  if (!next) return;
  current = next;
  next.querySelector("summary")?.focus({ preventScroll: true });
  next.scrollIntoView({ block: "start", behavior: calm.matches ? "auto" : "smooth" });
}

const press = (name) => document.querySelector(`.actions [data-do="${name}"]`)?.click();
const keys = {
  j: () => go(1),
  k: () => go(-1),
  l: () => press("libraries"),
  c: () => current?.querySelector('.tools [data-do="console"]')?.checkVisibility()
    && openConsole(current),
  m: () => press("markdown"),
  "?": () => press("help"),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.target.closest("input, textarea, select, [contenteditable]") || !keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});

const banner = document.getElementById("banner");
const standalone = document.querySelector(".standalone");
const RETRY = standalone ? "Load the page again" : "Retry the request";
const BROKEN = "The app cannot be loaded; the page shows why.";
let hasEnded = false;
let failures = 0;

function tell(text, button) {
  banner.hidden = !text;
  if (banner.firstElementChild.textContent !== text) banner.firstElementChild.textContent = text;
  banner.lastElementChild.textContent = button ?? "";
  banner.lastElementChild.hidden = !button;
}

/** The frames are away for good: the page stays as it is, and its consoles say so. */
function end(text) {
  if (hasEnded) return;
  hasEnded = true;
  for (const one of consoles.values()) one.end(text);
  document.querySelectorAll('[data-do="console"], [data-do="expand"]').forEach((button) => {
    button.disabled = true;
    button.title = text;
  });
}

async function look() {
  try {
    const { run, kept } = await ask("alive");
    failures = 0;
    if (run !== settings.generation) throw new Refusal("gone");
    tell("");
    if (!kept) end(MESSAGES.dropped);
  } catch (error) {
    failures = error.reason === "down" ? failures + 1 : 0;
    if (error.reason === "gone" || error.reason === "forbidden") {
      tell("The app has been loaded anew.", RETRY);
      end(MESSAGES.gone);
    } else if (error.reason === "foreign") tell(BROKEN, "Show the page");
    else if (error.reason === "dropped") end(MESSAGES.dropped);
    else if (failures > 1) tell(MESSAGES.down);
  }
}

let timer;
let since;
let turn = 0;

/** Ask again and again; less often after a minute. */
async function watch(mine) {
  await look();
  if (mine !== turn) return;
  timer = setTimeout(watch, performance.now() - since < 60_000 ? 1000 : 5000, mine);
}

/** As long as somebody looks. */
function wake() {
  turn += 1; // an answer that is still under way goes on with nothing
  clearTimeout(timer);
  since = performance.now();
  if (!document.hidden) watch(turn);
}

for (const details of document.querySelectorAll("[data-lazy]")) details.hidden = false;
if (isUnlocked) {
  for (const details of document.querySelectorAll(".chosen [data-lazy]")) details.open = true;
}
document.addEventListener("visibilitychange", wake);
wake();
if (standalone) openConsole(standalone);
