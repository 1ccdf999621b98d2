// Swaps the sections of the page that changed. The server renders them; nothing is computed here.
"use strict";
const contact = document.getElementById("contact");
let asking = false;
let again = false;

function title() {
  const main = document.querySelector("main");
  const head = document.getElementById("head");
  const done = head && head.dataset ? head.querySelector("[data-title]") : null;
  if (main && done) document.title = done.dataset.title;
}

async function renew() {
  if (asking) { again = true; return; }
  asking = true;
  try {
    const answer = await fetch("live", { signal: AbortSignal.timeout(25000) });
    if (!answer.ok) throw new Error(await answer.text());
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const section of fresh.querySelectorAll("main > section")) {
      const present = document.getElementById(section.id);
      if (present && present.innerHTML !== section.innerHTML) swap(present, section);
    }
    title();
    contact.hidden = true;
  } catch {
    contact.hidden = false;
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

title();
const events = new EventSource("api/events");
events.addEventListener("changed", renew);
events.onerror = () => { contact.hidden = false; };
events.onopen = () => { contact.hidden = true; };
// What depends on the time alone: ages, and ranks that fell silent.
setInterval(renew, 5000);

// Stopping asks for the run's token, which goes into a header and is kept nowhere.
const stop = document.getElementById("stop");
if (stop) {
  const [form, token, told] = ["form", "#token", "p"].map((part) => stop.querySelector(part));
  stop.hidden = false;
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
