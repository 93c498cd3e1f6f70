// The demo: a stream as it comes.
document.querySelector('[data-do="watch"]').addEventListener("click", async () => {
  const out = document.getElementById("out");
  out.textContent = "";
  const answer = await fetch("/stream");
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let piece; !(piece = await reader.read()).done; ) out.textContent += piece.value;
});
