// Swaps the sections of the page that changed. The server renders them; nothing is computed here.
"use strict";
const contact = document.getElementById("contact");
const left = document.getElementById("left");
const stop = document.getElementById("stop");
let asking = false;
let again = false;

// What the head tells of parts outside of `main`.
function heed() {
  const head = document.querySelector("#head [data-title]");
  if (!head) return;
  document.title = head.dataset.title;
  if (stop) stop.hidden = !("running" in head.dataset) || !left.hidden;
}

function show(text, except) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const section of fresh.querySelectorAll("main > section")) {
    const present = document.getElementById(section.id);
    if (present && section.id !== except && present.innerHTML !== section.innerHTML) swap(present, section);
  }
  heed();
}

// Who has said goodbye is not missed.
function lost(silent) {
  contact.hidden = !silent || !left.hidden;
}

async function renew() {
  if (!left.hidden) return;
  if (asking) { again = true; return; }
  asking = true;
  try {
    const answer = await fetch("live", { signal: AbortSignal.timeout(25000) });
    if (!answer.ok) throw new Error(await answer.text());
    const text = await answer.text();
    // What was asked for before the last word is older than it.
    if (left.hidden) show(text);
    lost(false);
  } catch {
    lost(true);
  } finally {
    asking = false;
    if (again) { again = false; setTimeout(renew, 1000); }
  }
}

// Wide parts keep how far they were scrolled.
function swap(present, fresh) {
  const offsets = [...present.querySelectorAll(".scroll")].map((part) => part.scrollLeft);
  const children = [...fresh.childNodes].map((child) => document.importNode(child, true));
  present.replaceChildren(...children);
  present.querySelectorAll(".scroll").forEach((part, index) => { part.scrollLeft = offsets[index] ?? 0; });
}

heed();
const events = new EventSource("api/events");
events.addEventListener("changed", () => {
  // A coordinator that resumes the run may answer where another left it.
  left.hidden = true;
  renew();
});
events.addEventListener("left", (event) => {
  left.hidden = false;
  lost(false);
  // There is nobody to fetch new pictures from.
  show(event.data, "examples");
});
events.onerror = () => lost(true);
events.onopen = () => lost(false);
// What depends on the time alone: ages, and ranks that fell silent.
setInterval(renew, 5000);

// Stopping asks for the run's token, which goes into a header and is kept nowhere.
if (stop) {
  const [form, token, told] = ["form", "#token", "p"].map((part) => stop.querySelector(part));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    told.textContent = "Asking …";
    try {
      const headers = { Authorization: `Bearer ${token.value.trim()}` };
      const answer = await fetch("api/stop", { method: "POST", headers, signal: AbortSignal.timeout(25000) });
      told.textContent = (await answer.text()).trim();
      stop.classList.toggle("refused", !answer.ok);
    } catch {
      told.textContent = "The coordinator does not answer.";
      stop.classList.add("refused");
    } finally {
      token.value = "";
      button.disabled = false;
    }
  });
}
