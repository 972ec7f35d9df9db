/* Small helps that the theme lacks. Nothing here is needed to read a page. */
(function () {
  "use strict";

  // Opened from disk, a page may not read another: search then lists titles without an excerpt instead of failing.
  if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
  }

  // A table that is wider than the page gets a box of its own to scroll in.
  function wrapTables() {
    document.querySelectorAll(".bd-article table").forEach(function (table) {
      if (table.closest(".mmt-scroll, .pst-scrollable-table-container")) return;
      var box = document.createElement("div");
      box.className = "mmt-scroll";
      table.parentNode.insertBefore(box, table);
      box.appendChild(table);
    });
  }

  // Whatever scrolls sideways can be reached, and named, without a mouse.
  function makeFocusable() {
    var boxes = ".mmt-scroll, .pst-scrollable-table-container, .cell_output .output, .bd-article pre, .bd-article div.math";
    document.querySelectorAll(boxes).forEach(function (box) {
      var scrolls = box.scrollWidth > box.clientWidth + 1;
      if (scrolls && !box.hasAttribute("tabindex")) {
        box.setAttribute("tabindex", "0");
        box.dataset.mmtFocusable = "";
      } else if (!scrolls && "mmtFocusable" in box.dataset) {
        box.removeAttribute("tabindex");
        delete box.dataset.mmtFocusable;
      }
    });
  }

  function start() {
    wrapTables();
    makeFocusable();
    var waiting;
    addEventListener("resize", function () {
      clearTimeout(waiting);
      waiting = setTimeout(makeFocusable, 150);
    });
    addEventListener("load", makeFocusable);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
