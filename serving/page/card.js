// The model's card, asked for when somebody opens it.

import { $, answered, element } from "./asking.js";

let served = null;
let shown = null;

export function tellCard(version) {
  served = version;
  $("card").hidden = false;
  if ($("card").open) show();
}

async function show() {
  if (shown === served) return;
  shown = served;
  try {
    const html = await (await answered("v1/card", { headers: { Accept: "text/html" } })).text();
    // A document made so runs no scripts, and the server lets no HTML of others into the card.
    const read = new DOMParser().parseFromString(html, "text/html");
    for (const wide of read.querySelectorAll("table, pre")) {
      const frame = element("div", "wide");
      frame.tabIndex = 0;
      frame.role = "region";
      frame.ariaLabel = wide.matches("pre") ? "Code" : "Table";
      wide.replaceWith(frame);
      frame.append(wide);
    }
    $("card-text").replaceChildren(...read.body.childNodes);
  } catch (error) {
    shown = null;
    $("card-text").replaceChildren(element("p", "error", error.message));
  }
}

$("card").addEventListener("toggle", () => {
  if ($("card").open) show();
});
