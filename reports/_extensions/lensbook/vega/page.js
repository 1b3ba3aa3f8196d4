// Small things of a page that stands alone: its contents on narrow screens, keys for what scrolls, and search where there is none.
document.addEventListener("DOMContentLoaded", () => {
  const contents = document.querySelector("#TOC ul");
  const title = document.querySelector("main header");
  if (contents && title) {
    const list = contents.cloneNode(true);
    for (const each of list.querySelectorAll("[id]")) each.removeAttribute("id");
    const menu = document.createElement("details");
    menu.className = "lensbook-contents";
    const label = document.createElement("summary");
    label.textContent = "On this page";
    menu.append(label, list);
    menu.addEventListener("click", (event) => {
      if (event.target.closest("a")) menu.open = false;
    });
    title.after(menu);
  }
  // What scrolls sideways can be reached by keys.
  const reachable = () => {
    for (const each of document.querySelectorAll("main pre, main math[display=block]")) {
      if (each.scrollWidth > each.clientWidth) each.tabIndex = 0;
      else each.removeAttribute("tabindex");
    }
  };
  reachable();
  addEventListener("resize", reachable);
  // Browsers let no page read the index of a site that is opened from a folder.
  const search = document.querySelector("#quarto-search");
  if (search && location.protocol === "file:") {
    search.textContent = "Search works once the site is on a server";
    search.className = "lensbook-no-search";
  }
});
