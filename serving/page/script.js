// One poster in, bars of genres out. No build step; the server says everything that is shown.

import { $, answered, asked, element, strong } from "./asking.js";
import { tellCard } from "./card.js";
import { hideSimilar, showSimilar } from "./similar.js";

const SHOWN_AT_FIRST = 8;
let maxUploadBytes = Infinity;
let toldVersion = null;
let findsSimilar = false;
let latest = null; // the newest request; the answers of older ones are dropped
let previewUrl = null;
let poster = null; // the file, or the address, that the bars are of
let heatUrl = null;

async function tellModel() {
  try {
    const model = await asked("v1/model");
    maxUploadBytes = model.max_upload_bytes;
    toldVersion = model.version;
    findsSimilar = model.finds_similar;
    tellCard(model.version);
    $("by-url").hidden = !model.fetches_urls;
    const made = new Date(model.created_at).toLocaleDateString(undefined, { dateStyle: "medium" });
    $("model").replaceChildren("Model ", strong(model.version), `, ${model.architecture}, ${made}`);
    const map = model.metrics.macro_map;
    const prior = model.prior_metrics.macro_map;
    $("worth").hidden = map === undefined;
    if (map !== undefined) {
      const beside = prior === undefined ? "" : `, guessing by frequency ${prior.toFixed(3)}`;
      $("worth").replaceChildren("Macro mAP on unseen posters ", strong(map.toFixed(3)), beside);
    }
    $("refused").hidden = !model.refused;
    if (model.refused) {
      $("refused").textContent = `Version ${model.refused.version} was promoted and refused: ${model.refused.reason}`;
    }
  } catch (error) {
    $("model").textContent = error.message;
    $("worth").hidden = true;
  }
}

// given: a File, or an address that the server fetches.
async function read(given) {
  latest?.abort();
  const request = (latest = new AbortController());
  poster = given;
  hideHeat();
  hideSimilar();
  $("error").hidden = true;
  if (given instanceof Blob) {
    showPoster(given, given.name || "Pasted poster");
  } else {
    filled(false);
    $("caption").hidden = true;
  }
  if (given.size > maxUploadBytes) {
    fail(`This file has ${megabytes(given.size)} MB; the server takes up to ${megabytes(maxUploadBytes)} MB.`);
    return;
  }
  document.body.classList.add("busy");
  $("status").textContent = "Looking at the poster…";
  try {
    const answer = await asked("v1/predict", { ...posting(given), signal: request.signal });
    if (request !== latest) return;
    showGenres(answer.posters[0], answer.version);
    if (findsSimilar) showSimilar(posting(given), request.signal);
    if (given instanceof Blob) return;
    // The page itself asks no other host than its own.
    const picture = await answered("v1/explain?picture=poster", { ...posting(given), signal: request.signal });
    const blob = await picture.blob();
    if (request === latest) showPoster(blob, answer.posters[0].name);
  } catch (error) {
    if (request === latest && error.name !== "AbortError") fail(error.message);
  } finally {
    if (request === latest) document.body.classList.remove("busy");
  }
}

function posting(given) {
  if (given instanceof Blob) {
    const form = new FormData();
    form.append("image", given, given.name || "pasted");
    return { method: "POST", body: form };
  }
  const headers = { "Content-Type": "application/json" };
  return { method: "POST", headers, body: JSON.stringify({ urls: [given] }) };
}

async function showHeat(button, genre) {
  const isShown = button.ariaPressed === "true";
  hideHeat();
  if (isShown) return;
  button.ariaPressed = "true";
  const of = poster;
  $("looking").textContent = `Looking for what speaks for ${genre}…`;
  try {
    const path = `v1/explain?picture=layer&genre=${encodeURIComponent(genre)}`;
    const picture = await (await answered(path, posting(of))).blob();
    if (button.ariaPressed !== "true" || of !== poster) return;
    heatUrl = URL.createObjectURL(picture);
    $("heat").src = heatUrl;
    $("heat").hidden = false;
    $("looking").textContent = `Aglow on the poster: what speaks for ${genre}.`;
  } catch (error) {
    if (button.ariaPressed !== "true" || of !== poster) return;
    button.ariaPressed = "false";
    $("looking").textContent = error.message;
  }
}

function hideHeat() {
  if (heatUrl) URL.revokeObjectURL(heatUrl);
  heatUrl = null;
  $("heat").hidden = true;
  $("heat").removeAttribute("src");
  for (const button of document.querySelectorAll("#bars button")) button.ariaPressed = "false";
  $("looking").textContent = "Press a genre to see where the model looks.";
}

function showPoster(picture, name) {
  if (previewUrl) URL.revokeObjectURL(previewUrl);
  previewUrl = URL.createObjectURL(picture);
  const preview = $("preview");
  preview.onload = () => filled(true);
  preview.onerror = () => filled(false);
  preview.src = previewUrl;
  preview.alt = `The poster ${name}`;
  $("name").textContent = name;
  $("caption").hidden = false;
}

function filled(isFilled) {
  $("preview").hidden = !isFilled;
  $("invitation").hidden = isFilled;
  $("sheet").classList.toggle("filled", isFilled);
}

function showGenres(answer, version) {
  const names = answer.predicted;
  const took = Math.round(answer.timings_ms.decode + answer.timings_ms.predict);
  $("status").replaceChildren(
    ...(names.length ? [strong(listed(names))] : ["No genre reaches its threshold"]),
    `, read in ${took} ms`,
  );
  const shown = Math.max(SHOWN_AT_FIRST, answer.genres.findLastIndex((it) => it.passes) + 1);
  $("bars").replaceChildren(...answer.genres.map((genre, rank) => bar(genre, rank >= shown)));
  $("bars").hidden = $("below").hidden = false;
  const more = $("more");
  more.hidden = answer.genres.length <= shown;
  more.textContent = `Show all ${answer.genres.length}`;
  more.ariaExpanded = "false";
  more.onclick = () => {
    const isOpen = more.ariaExpanded === "true";
    [...$("bars").children].slice(shown).forEach((item) => (item.hidden = isOpen));
    more.ariaExpanded = String(!isOpen);
    more.textContent = isOpen ? `Show all ${answer.genres.length}` : "Show fewer";
  };
  // The model may have been replaced since the page was opened.
  if (version !== toldVersion) tellModel();
}

function bar({ genre, score, threshold, passes }, isHidden) {
  const item = element("li", passes ? "passes" : "");
  const meter = element("div", "meter");
  const fill = element("div", "fill");
  const mark = element("div", "mark");
  const percent = Math.round(score * 100);
  const limit = Math.round(threshold * 100);
  meter.role = "meter";
  meter.ariaLabel = genre;
  meter.ariaValueMin = "0";
  meter.ariaValueMax = "100";
  meter.ariaValueNow = String(percent);
  meter.ariaValueText = `${percent} percent, counts from ${limit} percent: ${passes ? "yes" : "no"}`;
  mark.style.left = `${threshold * 100}%`;
  mark.title = `counts from ${limit} %`;
  meter.append(fill, mark);
  const name = element("button", "name", genre);
  name.type = "button";
  name.ariaPressed = "false";
  name.title = "Where the model sees it";
  name.addEventListener("click", () => showHeat(name, genre));
  item.append(name, meter, element("span", "value", `${percent} %`));
  item.hidden = isHidden;
  requestAnimationFrame(() => requestAnimationFrame(() => (fill.style.width = `${score * 100}%`)));
  return item;
}

function fail(message) {
  document.body.classList.remove("busy");
  $("bars").hidden = $("below").hidden = true;
  $("status").textContent = "This did not work.";
  $("error").textContent = message;
  $("error").hidden = false;
}

const listed = (names) => (names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`);
const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

$("pick").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) read(file);
  event.target.value = ""; // so that the same file can be picked again
});

$("by-key").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", $("key").value.trim());
  tellModel();
});

$("by-url").addEventListener("submit", (event) => {
  event.preventDefault();
  read($("url").value);
});

addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) read(file);
});

let depth = 0; // dragenter and dragleave also come from every child
addEventListener("dragenter", () => document.body.classList.toggle("dragging", ++depth > 0));
addEventListener("dragleave", () => document.body.classList.toggle("dragging", --depth > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("dragging");
  const [file] = event.dataTransfer.files;
  if (file) read(file);
});

tellModel();
setInterval(tellModel, 30_000);
