// The page of the reloader: waits for something new, and opens files of the traceback.
const headers = { "X-Aserve-Reload": settings.token };
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Until there is something new; what was refused must not become a loop. */
async function wait() {
  const answer = await fetch(settings.question, { cache: "no-store", headers }).catch(() => null);
  if (answer?.status !== 204) await pause(1000);
  location.reload();
}

async function open(button) {
  const text = button.textContent;
  const frame = button.closest("[data-frame]").dataset.frame;
  const answer = await fetch(`${settings.open}?${frame}`, { method: "POST", cache: "no-store", headers })
    .catch(() => null);
  button.textContent = answer?.ok ? "Opened" : await answer?.text() ?? "The server does not answer.";
  setTimeout(() => { button.textContent = text; }, answer?.ok ? 1500 : 4000);
}

const actions = {
  open,
  plain: (button) => copy(document.getElementById("plain").textContent, button),
  markdown: (button) => copy(settings.markdown, button),
};
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button) actions[button.dataset.do](button);
});
wait();
