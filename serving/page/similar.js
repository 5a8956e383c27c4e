// Posters of the model's dataset that look like the one that was given: pictures where the server shows them, else titles.

import { $, answered, asked, element } from "./asking.js";

const SHOWN = 6;

let pictures = [];

export function hideSimilar() {
  $("similar").hidden = true;
  for (const url of pictures) URL.revokeObjectURL(url);
  pictures = [];
  $("alike").replaceChildren();
}

export async function showSimilar(posting, signal) {
  $("similar-status").textContent = "Looking for posters like it…";
  $("similar").hidden = false;
  try {
    const answer = await asked(`v1/similar?top=${SHOWN}`, { ...posting, signal });
    if (signal.aborted) return;
    const [{ similar }] = answer.posters;
    $("alike").classList.toggle("bare", !similar.some((it) => it.picture));
    $("alike").replaceChildren(...similar.map((it) => item(it, signal)));
    $("similar-status").textContent = "Those that the model sees most like it; 1.00 is all the same to it.";
  } catch (error) {
    if (!signal.aborted) $("similar-status").textContent = error.message;
  }
}

function item({ imdb_id: id, title, year, genres, similarity, picture }, signal) {
  const made = element("li", "");
  if (picture) {
    // The title stands below it: to say it twice helps nobody.
    const image = element("img", "thumb");
    image.alt = "";
    made.append(image);
    showPicture(image, picture, signal);
  }
  const words = element("p", "words");
  words.append(element("span", "title", title ?? id));
  if (year) words.append(element("span", "year", ` ${year}`));
  const likeness = element("span", "likeness", similarity.toFixed(2));
  likeness.title = "How alike: the cosine of what the model sees";
  const below = element("p", "genres");
  below.append(likeness, ` ${genres.join(", ")}`);
  made.append(words, below);
  return made;
}

async function showPicture(image, path, signal) {
  try {
    // Not by the image's own address: that would be asked without the key.
    const blob = await (await answered(path, { signal })).blob();
    if (signal.aborted) return;
    image.src = URL.createObjectURL(blob);
    pictures.push(image.src);
  } catch {
    image.classList.add("missing");
  }
}
