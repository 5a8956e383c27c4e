// What the page's parts share: how the server is asked, and how elements are made.

const REFUSALS = {
  not_an_image: "This file is not a picture: it is none of JPEG, PNG, WebP and GIF.",
  truncated: "This picture is cut short: a part of the file is missing.",
  corrupt: "This picture is damaged and cannot be read.",
  too_small: "This picture is too small to tell anything from.",
  too_many_pixels: "This picture has too many pixels.",
};

export const $ = (id) => document.getElementById(id);

export async function asked(path, options) {
  return (await answered(path, options)).json();
}

export async function answered(path, options = {}) {
  let response;
  const key = sessionStorage.getItem("key");
  const authorization = key ? { Authorization: `Bearer ${key}` } : {};
  try {
    response = await fetch(path, { ...options, headers: { ...options.headers, ...authorization } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached. Is it still running?");
  }
  $("by-key").hidden = response.status !== 401;
  if (!response.ok) {
    const answer = await response.json().catch(() => null);
    const busy = "The server is busy or starting. Try again in a moment.";
    const words = REFUSALS[answer?.reason] ?? answer?.detail;
    throw new Error(words ?? (response.status >= 500 ? busy : `The server answered ${response.status}.`));
  }
  return response;
}

export function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

export const strong = (text) => element("strong", "", text);
