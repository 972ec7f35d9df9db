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

/* Models that run in the page: nothing is loaded before a reader presses "Start", and then only scripts of this
   book, since a page that is opened from disk may fetch nothing. */
(function () {
  "use strict";
  var MMT = (window.MMT = window.MMT || {});
  MMT.files = MMT.files || {};
  MMT.put = function (name, file) {
    MMT.files[name] = file;
  };

  var own = document.currentScript && document.currentScript.src;
  var loading = {};
  /** Load a script of the folder "live", once. */
  MMT.load = function (file) {
    loading[file] =
      loading[file] ||
      new Promise(function (done, fail) {
        var script = document.createElement("script");
        script.src = new URL("live/" + file, own).href;
        script.onload = done;
        script.onerror = function () {
          delete loading[file];
          fail(new Error("The file " + file + " is missing beside this page."));
        };
        document.head.appendChild(script);
      });
    return loading[file];
  };

  function begin(place, note) {
    note.textContent = "Loading the model …";
    place.setAttribute("aria-busy", "true");
    return ["manifest.js", "engine.js", "world.js", "exhibits.js"]
      .reduce(function (before, file) {
        return before.then(function () {
          return MMT.load(file);
        });
      }, Promise.resolve())
      .then(function () {
        return MMT.start(place);
      })
      .catch(function (error) {
        place.removeAttribute("aria-busy");
        note.textContent = "This did not work: " + error.message;
      });
  }

  function offer() {
    document.querySelectorAll(".mmt-live[data-exhibit]").forEach(function (place) {
      var button = document.createElement("button"), note = document.createElement("p");
      button.type = "button";
      button.textContent = "Start: " + (place.dataset.title || place.dataset.exhibit);
      note.setAttribute("role", "status");
      note.textContent = "It runs on your machine, in this page. Nothing is sent anywhere.";
      button.addEventListener("click", function () {
        button.disabled = true;
        begin(place, note).then(function () {
          button.disabled = false;
        });
      });
      place.replaceChildren(button, note);
    });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", offer);
  else offer();
})();
