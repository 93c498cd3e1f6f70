// What the page asks the server, and values as it answers them. What comes from there is text.
const MOST_TRIES = 20;
const MESSAGES = {
  dropped: "The frames of this error are not kept any more: it is too old. Retry the request.",
  gone: "The frames of this error are gone: the app has been loaded anew. Retry the request.",
  elsewhere: "Another process of the server has the frames, and it was not reached. Try again.",
  "no-eval": "Code cannot be run from here.",
  pin: "This needs the PIN.",
  down: "The server does not answer.",
  foreign: "The app cannot be loaded at the moment.",
};

/** A command that was not carried out; `answer` is what the server said, or {}. */
class Refusal extends Error {
  constructor(reason, answer = {}) {
    super(MESSAGES[reason] ?? answer.message ?? reason);
    this.reason = reason;
    this.answer = answer;
  }
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Give a command; once more when it landed on a process that does not have the report. */
async function ask(command, fields = {}) {
  for (let tries = 0; ; tries += 1) {
    const response = await fetch(settings.command_url, {
      method: "POST",
      cache: "no-store",
      headers: { "Content-Type": "application/json", "X-Aserve-Debug": settings.token },
      body: JSON.stringify({ do: command, report: settings.report, ...fields }),
    }).catch(() => { throw new Refusal("down"); });
    const answer = await response.json().catch(() => null);
    if (typeof answer?.ok !== "boolean") throw new Refusal("foreign");
    if (answer.ok) return answer;
    if (answer.error !== "elsewhere" || tries >= MOST_TRIES) {
      throw new Refusal(answer.error, answer);
    }
    await pause(10 * tries);
  }
}

const trouble = (error) => make("p", { className: "trouble", role: "alert" }, error.message);

/** A table like those that came with the page; `path` leads to what has these values. */
function tableOf(values, path = []) {
  const body = make("tbody");
  values.forEach((value, index) => {
    const name = make("th", { scope: "row" });
    const row = make("tr", {}, name, make("td", { className: "type" }, value.type),
      make("td", { className: value.is_hidden ? "text hidden-value" : "text" }, value.text));
    row.dataset.path = JSON.stringify([...path, path.length ? index : value.name]);
    if (value.can_expand) {
      const button = make("button", { type: "button", ariaLabel: `Parts of ${value.name}` });
      button.dataset.do = "expand";
      button.ariaExpanded = "false";
      name.append(button);
    }
    name.append(value.name);
    body.append(row);
  });
  const titles = ["Name", "Type", "Value"].map((title) => make("th", { scope: "col" }, title));
  const head = make("thead", { className: "unseen" }, make("tr", {}, ...titles));
  return make("table", { className: "values" }, head, body);
}

let isUnlocked = settings.is_unlocked;
/** Called when the PIN was entered, wherever that was. */
const whenUnlocked = new Set();

/** A form that asks for the PIN. */
class PinForm {
  constructor(form) {
    this.form = form;
    this.input = form.elements.pin;
    form.addEventListener("submit", (event) => this.unlock(event));
  }

  say(text) {
    this.form.querySelector(".status").textContent = text;
  }

  /** Say where the PIN stands, and have the server write it there. */
  async begin() {
    this.input.focus();
    this.input.ariaInvalid = null;
    try {
      const { printed } = await ask("show-pin");
      this.say(printed ? "The PIN stands on the terminal of the server."
        : "The server has no terminal to show the PIN on: aserve pin prints it, in its directory.");
    } catch (error) {
      this.say(error.message);
    }
  }

  async unlock(event) {
    event.preventDefault();
    try {
      await ask("unlock", { pin: this.input.value.trim() });
      this.input.value = "";
      this.input.ariaInvalid = null;
      isUnlocked = true;
      for (const call of whenUnlocked) call();
    } catch (error) {
      const { left } = error.answer;
      this.say({
        "wrong-pin": `That is not the PIN. ${left === 1 ? "1 try is" : `${left} tries are`} left.`,
        locked: "Too many wrong PINs: it is locked. The key p in the terminal of the server "
          + "unlocks it, and so does aserve pin --new in its directory.",
      }[error.reason] ?? error.message);
      this.input.ariaInvalid = "true";
      this.input.select();
    }
  }
}

const unlockDialog = document.getElementById("unlock");
const unlockForm = new PinForm(unlockDialog.querySelector("form"));

/** Ask for the PIN; whether it was entered. */
function askForPin() {
  unlockDialog.showModal();
  unlockForm.begin();
  const close = () => unlockDialog.close();
  whenUnlocked.add(close);
  return new Promise((resolve) => {
    unlockDialog.addEventListener("close", () => {
      whenUnlocked.delete(close);
      resolve(isUnlocked);
    }, { once: true });
  });
}

/** Give a command that reads more than the page has shown: it asks for the PIN one time. */
async function askUnlocked(command, fields) {
  for (;;) {
    try {
      return await ask(command, fields);
    } catch (error) {
      isUnlocked &&= error.reason !== "pin";
      if (error.reason !== "pin" || !await askForPin()) throw error;
    }
  }
}

const frameOf = (element) => Number(element.closest(".frame").dataset.frame);

/** Show the parts of a value in a row below its own, or hide them. */
async function expand(button) {
  const row = button.closest("tr");
  const isOpen = button.ariaExpanded === "true";
  button.ariaExpanded = String(!isOpen);
  if (isOpen) {
    row.nextElementSibling.remove();
    return;
  }
  const cell = make("td", { colSpan: 3 }, "…");
  row.after(make("tr", { className: "parts" }, cell));
  const path = row.dataset.path ? JSON.parse(row.dataset.path) : [row.dataset.name];
  try {
    const { values } = await askUnlocked("expand", { frame: frameOf(row), path });
    cell.replaceChildren(values.length ? tableOf(values, path) : make("p", { className: "wait" }, "Nothing."));
  } catch (error) {
    cell.replaceChildren(trouble(error));
  }
}

/** Ask for the variables of a frame when they are looked at for the first time. */
async function load(details) {
  delete details.dataset.lazy;
  const wait = make("p", { className: "wait" }, "…");
  details.append(wait);
  try {
    const { values } = await askUnlocked("locals", { frame: frameOf(details) });
    if (values.length) wait.replaceWith(tableOf(values));
    else wait.textContent = "Nothing.";
  } catch (error) {
    wait.replaceWith(trouble(error));
    // To be tried again, when it is opened again.
    details.addEventListener("toggle", () => {
      details.querySelector(".trouble").remove();
      details.dataset.lazy = "";
    }, { once: true });
  }
}
