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
  /** Load a script of this folder, once. */
  MMT.load = function (file) {
    if (MMT.whole) return Promise.resolve(); // a page that holds everything itself
    loading[file] =
      loading[file] ||
      new Promise(function (done, fail) {
        var script = document.createElement("script");
        script.src = new URL(file, own).href;
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
    document.querySelectorAll(".mmt-exhibit[data-exhibit]").forEach(function (place) {
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
