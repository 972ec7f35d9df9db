/* What all exhibits share: to fetch files by script tags, to build pieces of a page, and the stage on which
   a reader puts things. The exhibits themselves are in the files beside this one. */
(function () {
  "use strict";
  const MMT = (window.MMT = window.MMT || {});
  MMT.exhibits = MMT.exhibits || {};

  // --- Files: a page opened from disk may load scripts, and nothing else ---------------------------------------

  /** The packed files by their names; each is a script, loaded when it is first needed. */
  async function need(...names) {
    await Promise.all(names.filter((name) => !MMT.files[name]).map((name) => MMT.load(MMT.manifest.files[name])));
    return names.map((name) => MMT.files[name]);
  }

  const made = {};
  /** One model of each kind for the whole page. */
  async function model(name) {
    if (!made[name]) {
      made[name] = (async () => {
        const [file] = await need(name);
        if (name === "world") return MMT.World.from(file);
        if (name === "encoder") return new MMT.Encoder(file);
        const base = file.tensors.some(([, , type]) => type[0] === "d") ? await model("captioner-soft") : null;
        const kinds = { gallery: Gallery, voices: Voices, captioner: MMT.Captioner, questions: MMT.Questions, search: MMT.Space, words: MMT.Words, drawing: MMT.Painter, party: MMT.Party };
        return new kinds[file.about.kind](file, base);
      })();
      made[name].catch(() => delete made[name]); // so that the next press tries again
    }
    return made[name];
  }

  /** Scenes that can be found, with their points on the sphere. */
  class Gallery {
    constructor(file) {
      Object.assign(this, file.about);
      this.pictures = MMT.unpack(file).pictures;
    }

    /** The scenes nearest to a point: [number, cosine]. */
    nearest(point, top) {
      return this.scenes.map((_, i) => [i, MMT.dot(MMT.row(this.pictures, i), point)]).sort((a, b) => b[1] - a[1]).slice(0, top);
    }
  }

  /** People who speak for two seconds: a wave, and the mouth in each picture. */
  class Voices {
    constructor(file) {
      Object.assign(this, file.about);
      Object.assign(this, MMT.unpack(file));
    }

    wave(i) {
      return MMT.row(this.waves, i);
    }

    mouth(i) {
      const [rows, size] = this.mouths.shape, each = (rows / this.people.length) * size;
      return this.mouths.data.subarray(i * each, (i + 1) * each);
    }
  }

  // --- Words that a reader types --------------------------------------------------------------------------------

  /** A text as words, as mmtutor.kit.text.tokenize gives them for English. */
  const wordsOf = (text) => (text.normalize("NFC").toLowerCase().replace(/’/g, "'").match(/[\p{L}\p{N}]+(?:['-][\p{L}\p{N}]+)*/gu) || []);

  /** Words of a list that are spelt nearly so: at most two letters differ. */
  function alike(word, list, top = 3) {
    const distance = (a, b) => {
      let line = [...Array(b.length + 1).keys()];
      for (let i = 1; i <= a.length; i++) {
        const next = [i];
        for (let j = 1; j <= b.length; j++) next[j] = Math.min(next[j - 1] + 1, line[j] + 1, line[j - 1] + (a[i - 1] !== b[j - 1]));
        line = next;
      }
      return line[b.length];
    };
    return list.filter((w) => Math.abs(w.length - word.length) < 3 && /^\p{L}/u.test(w)).map((w) => [distance(word, w), w])
      .filter(([d]) => d < 3).sort((a, b) => a[0] - b[0]).slice(0, top).map(([, w]) => w);
  }

  /** The ids of a text's words; an error in plain words if one is unknown or there is none. */
  function idsOf(text, list) {
    const words = wordsOf(text);
    if (!words.length) throw new Error("Type a few words first.");
    if (words.length > 40) throw new Error(`That is ${words.length} words; the model reads 40 at most.`);
    return words.map((word) => {
      const id = list.indexOf(word);
      if (id >= 0 && !word.startsWith("<")) return id;
      const near = alike(word, list);
      throw new Error(`The model has never read “${word}”.${near.length ? ` It knows: ${near.join(", ")}.` : ""}`);
    });
  }

  // --- Pieces of a page ------------------------------------------------------------------------------------------

  /** An element: h("p", { class: "x", onclick: f }, "text", child, …). */
  function h(tag, properties = {}, ...children) {
    const one = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name.startsWith("on")) one.addEventListener(name.slice(2), value);
      else if (name.startsWith("aria-") && value !== null && value !== undefined) one.setAttribute(name, String(value));
      else if (value === true) one.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) one.setAttribute(name, value);
    }
    one.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return one;
  }

  let count = 0;
  const id = (name) => `mmt-live-${name}-${++count}`;

  /** A row of choices of which one holds; `change` is told. */
  function choice(label, options, chosen, change) {
    const name = id("choice");
    return h("fieldset", { class: "mmt-choice" }, h("legend", {}, label),
      Object.entries(options).map(([value, text]) =>
        h("label", {}, h("input", { type: "radio", name, value, checked: value === chosen, onchange: () => change(value) }), ` ${text}`)));
  }

  function select(label, options, chosen, change) {
    const own = id("select");
    return h("span", { class: "mmt-field" }, h("label", { for: own }, label), " ",
      h("select", { id: own, onchange: (event) => change(event.target.value) },
        options.map(([value, text]) => h("option", { value, selected: value === chosen }, text))));
  }

  /** A line that a screen reader says a moment after the last change. */
  function speaker() {
    const line = h("p", { class: "mmt-said", role: "status", "aria-live": "polite" });
    let waiting;
    return { line, say(text) { clearTimeout(waiting), (waiting = setTimeout(() => line.replaceChildren(h("span", {}, text)), 700)); } };
  }

  /** Runs the last of many requests, one at a time, between two frames of the screen. */
  function latest(work) {
    let running = false, again = false;
    return async function run() {
      if (running) return void (again = true);
      running = true;
      try {
        do {
          again = false;
          await new Promise((done) => setTimeout(done, 0));
          await work();
        } while (again);
      } finally {
        running = false;
      }
    };
  }

  /** RGB bytes (size · size · 3) on a canvas, made larger. */
  function paint(canvas, pixels, size) {
    const small = paint.small || (paint.small = document.createElement("canvas"));
    small.width = small.height = size;
    const image = new ImageData(size, size);
    for (let p = 0; p < size * size; p++) {
      for (let c = 0; c < 3; c++) image.data[4 * p + c] = pixels[3 * p + c];
      image.data[4 * p + 3] = 255;
    }
    small.getContext("2d").putImageData(image, 0, 0);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
  }

  /** A picture, grey where a model does not look: weights of 6 × 6 cells. */
  function lit(pixels, weights, size = 96) {
    const across = Math.round(Math.sqrt(weights.length)), cell = size / across, most = Math.max(...weights, 1e-6);
    return pixels.map((v, i) => {
      const p = (i / 3) | 0, seen = weights[(((p / size) | 0) / cell | 0) * across + (((p % size) / cell) | 0)] / most;
      const grey = 0.25 * v + 0.75 * (70 + (0.35 * (pixels[3 * p] + pixels[3 * p + 1] + pixels[3 * p + 2])) / 3);
      return seen * v + (1 - seen) * grey;
    });
  }

  /** A file of the reader's as RGB bytes: its middle square, made small. */
  async function photo(file, size = 96) {
    let image;
    try {
      image = await createImageBitmap(file);
    } catch {
      throw new Error(`“${file.name}” is no picture that this browser can read. A PNG, JPEG or WebP will do.`);
    }
    let side = Math.min(image.width, image.height), source = image, x = (image.width - side) / 2, y = (image.height - side) / 2;
    if (side < 32) throw new Error(`“${file.name}” is only ${image.width} × ${image.height} pixels; the model needs 32 or more.`);
    while (side > 2 * size) { // by halves: a canvas that shrinks at once leaves pixels out
      const next = document.createElement("canvas");
      next.width = next.height = Math.max(size, Math.ceil(side / 2));
      next.getContext("2d").drawImage(source, x, y, side, side, 0, 0, next.width, next.height);
      [source, side, x, y] = [next, next.width, 0, 0];
    }
    const last = document.createElement("canvas");
    last.width = last.height = size;
    const pen = last.getContext("2d", { willReadFrequently: true });
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, size, size);
    pen.drawImage(source, x, y, side, side, 0, 0, size, size);
    const { data } = pen.getImageData(0, 0, size, size), out = new Uint8Array(size * size * 3);
    for (let p = 0; p < size * size; p++) for (let c = 0; c < 3; c++) out[3 * p + c] = data[4 * p + c];
    return out;
  }

  // --- The stage: a ground, and up to four things to be moved by mouse, finger or key ------------------------------

  const MOST = 4, STEP = 16;

  class Stage {
    /** `change(pixels, scene)` is called when the picture is another one; scene is null for a photograph. */
    constructor(world, scene, change, side = 96) {
      Object.assign(this, { world, scene, change, side, chosen: 0, own: null });
      this.canvas = h("canvas", { width: 384, height: 384, role: "img" });
      this.layer = h("div", { class: "mmt-things", role: "group", "aria-label": "Things on the stage: arrow keys move one, plus and minus resize it, Delete removes it" });
      this.error = h("p", { class: "mmt-error", role: "alert", hidden: true });
      this.build();
      this.drop();
    }

    /** The picture with its things, and the tools below it. */
    build() {
      const { world, scene } = this;
      const grounds = [...world.grounds.values()].map((g) => [g.key, `${g.name} ${g.key.split("-")[1]}`]);
      const names = [...world.things.keys()].sort().map((name) => [name, name]);
      this.adding = select("Thing", names, "dog", () => {});
      const tool = (text, label, act) => h("button", { type: "button", "aria-label": label, title: label, onclick: () => this.edit(act) }, text);
      this.tools = h("div", { class: "mmt-bar" },
        tool("−", "smaller", (one) => this.resize(one, -1)), tool("+", "larger", (one) => this.resize(one, 1)),
        tool("⇄", "mirror", (one) => (one.mirrored = !one.mirrored)), tool("⤒", "to the front", (one) => this.front(one)), tool("✕", "remove", (one) => this.remove(one)));
      this.which = h("span", { class: "mmt-which" });
      const file = h("input", { type: "file", accept: "image/*", class: "mmt-file", "aria-label": "a picture of my own", onchange: (event) => this.take(event.target) });
      this.back = h("button", { type: "button", hidden: true, onclick: () => ((this.own = null), this.show(), this.home()) }, "Back to the scene");
      this.edits = h("div", {},
        h("div", { class: "mmt-bar" }, this.adding, h("button", { type: "button", onclick: () => this.put() }, "Put it there"), select("Ground", grounds, scene.ground, (key) => ((this.scene.ground = key), this.show()))),
        h("div", { class: "mmt-bar" }, this.which, this.tools));
      this.element = h("div", { class: "mmt-stage" },
        h("div", { class: "mmt-picture" }, this.canvas, this.layer), this.edits,
        h("div", { class: "mmt-bar" }, h("button", { type: "button", onclick: () => ((this.scene = shuffled(this.world)), (this.own = null), (this.chosen = 0), this.show()) }, "Another scene"),
          h("label", { class: "mmt-upload" }, "A picture of my own ", file), this.back),
        this.error);
    }

    /** Draw, and tell. */
    show() {
      this.error.hidden = true;
      this.edits.hidden = !!this.own;
      this.back.hidden = !this.own;
      this.pixels = this.own || this.world.draw(this.scene);
      this.highlight(null);
      this.buttons();
      this.change(this.pixels, this.own ? null : this.scene);
    }

    /** Show where a model looks, or the whole picture again. */
    highlight(weights) {
      paint(this.canvas, weights ? lit(this.pixels, weights, this.side) : this.pixels, this.side);
      const things = this.own ? [] : this.scene.things.map((t) => this.tell(t));
      const told = this.own ? "a picture of your own" : `${things.join("; ") || "nothing"}; ${this.world.grounds.get(this.scene.ground).name}`;
      this.canvas.setAttribute("aria-label", `What the model sees: ${told}`);
    }

    tell(thing) {
      const where = this.world.places(thing).filter((p) => p !== "middle" || this.world.places(thing).length === 1);
      return `${this.world.size(thing)} ${thing.name}${where.length ? `, ${where.reverse().join(" ")}` : ""}`;
    }

    /** One button lies over each thing; the one that is chosen keeps the focus. */
    buttons() {
      const things = this.own ? [] : this.scene.things;
      while (this.layer.children.length > things.length) this.layer.lastChild.remove();
      while (this.layer.children.length < things.length) this.layer.append(this.button(this.layer.children.length));
      this.chosen = Math.min(this.chosen, Math.max(0, things.length - 1));
      things.forEach((thing, i) => {
        const [x0, y0, x1, y1] = this.world.box(thing).map((n) => n / 10.24), one = this.layer.children[i];
        Object.assign(one.style, { left: `${x0}%`, top: `${y0}%`, width: `${x1 - x0}%`, height: `${y1 - y0}%` });
        one.setAttribute("aria-label", this.tell(thing));
        one.setAttribute("aria-pressed", i === this.chosen);
      });
      this.which.textContent = things.length ? `The ${things[this.chosen].name}:` : "Nothing is there yet.";
      for (const one of this.tools.children) one.disabled = !things.length;
    }

    button(i) {
      const one = h("button", { type: "button", class: "mmt-thing", onfocus: () => this.choose(i), onkeydown: (event) => this.key(event) });
      let from = null;
      one.addEventListener("pointerdown", (event) => {
        if (from || event.button > 0) return; // one finger, or the left button
        this.choose(i);
        one.setPointerCapture(event.pointerId);
        const thing = this.scene.things[i];
        from = { id: event.pointerId, x: event.clientX, y: event.clientY, thing, at: [thing.x, thing.y] };
      });
      one.addEventListener("pointermove", (event) => {
        if (!from || event.pointerId !== from.id || this.scene.things[i] !== from.thing) return;
        const units = MMT.UNITS / this.layer.clientWidth;
        this.move(from.thing, from.at[0] + (event.clientX - from.x) * units, from.at[1] + (event.clientY - from.y) * units);
        this.show();
      });
      for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) one.addEventListener(end, (event) => from && event.pointerId === from.id && (from = null));
      return one;
    }

    choose(i) {
      if (this.chosen !== i) (this.chosen = i), this.buttons();
    }

    edit(act) {
      if (!this.scene.things.length || this.own) return;
      const here = this.element.contains(document.activeElement);
      act(this.scene.things[this.chosen]);
      this.show();
      if (here && (document.activeElement === document.body || document.activeElement.disabled)) this.home();
    }

    /** Where the keyboard goes on when what it was on is gone. */
    home() {
      (this.layer.children[this.chosen] || this.adding.querySelector("select")).focus({ preventScroll: true });
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return; // the browser's own
      const far = event.shiftKey ? 4 * STEP : STEP, step = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] }[event.key];
      const act = { "+": (t) => this.resize(t, 1), "=": (t) => this.resize(t, 1), "-": (t) => this.resize(t, -1), m: (t) => (t.mirrored = !t.mirrored), Delete: (t) => this.remove(t), Backspace: (t) => this.remove(t) }[event.key];
      if (!step && !act) return;
      event.preventDefault();
      this.edit(step ? (t) => this.move(t, t.x + step[0], t.y + step[1]) : act);
    }

    move(thing, x, y) {
      const within = (n) => Math.round(Math.min(MMT.UNITS - 24, Math.max(24, n)));
      (thing.x = within(x)), (thing.y = within(y));
    }

    resize(thing, step) {
      const at = MMT.SIDES.reduce((best, side, i) => (Math.abs(side - thing.side) < Math.abs(MMT.SIDES[best] - thing.side) ? i : best), 0);
      thing.side = MMT.SIDES[Math.min(MMT.SIDES.length - 1, Math.max(0, at + step))];
    }

    front(thing) {
      this.scene.things.push(...this.scene.things.splice(this.scene.things.indexOf(thing), 1));
      this.chosen = this.scene.things.length - 1;
    }

    remove(thing) {
      this.scene.things.splice(this.scene.things.indexOf(thing), 1);
    }

    put() {
      if (this.scene.things.length >= MOST) return this.fail(`Four things are the most that the model has ever seen at once. Remove one first.`);
      const spots = [[512, 512], [256, 256], [768, 256], [256, 768], [768, 768]];
      const far = ([x, y]) => Math.min(Infinity, ...this.scene.things.map((t) => Math.hypot(t.x - x, t.y - y)));
      const [x, y] = spots.reduce((best, spot) => (far(spot) > far(best) ? spot : best));
      this.scene.things.push({ name: this.adding.querySelector("select").value, side: 304, x, y, mirrored: false });
      this.chosen = this.scene.things.length - 1;
      this.show();
    }

    fail(message) {
      this.error.textContent = message;
      this.error.hidden = false;
    }

    async take(input) {
      const [file] = input.files;
      if (!file) return;
      this.taken = file; // the last one counts, however long an earlier one takes
      try {
        const pixels = await photo(file, this.side);
        if (this.taken !== file) return;
        this.own = pixels;
        this.show();
      } catch (error) {
        if (this.taken === file) this.fail(error.message);
      }
      input.value = "";
    }

    /** A picture may be dropped on the stage, too. */
    drop() {
      const spot = this.element;
      spot.addEventListener("dragover", (event) => event.preventDefault());
      spot.addEventListener("drop", (event) => (event.preventDefault(), this.take({ files: event.dataTransfer.files })));
    }
  }

  /** A scene by chance: one to four things that do not touch. */
  function shuffled(world) {
    const any = (list) => list[Math.floor(Math.random() * list.length)], things = [], goal = 1 + Math.floor(Math.random() * 4);
    for (let tries = 0; things.length < goal && tries < 300; tries++) {
      const side = any(things.some((t) => t.side > 400) && goal > 2 ? MMT.SIDES.slice(0, 3) : MMT.SIDES);
      const one = { name: any([...world.things.keys()]), side, x: 0, y: 0, mirrored: Math.random() < 0.5 }, [w, v] = world.extent(one);
      one.x = Math.round(12 + w / 2 + Math.random() * (1000 - w)), (one.y = Math.round(12 + v / 2 + Math.random() * (1000 - v)));
      const apart = (a, b) => { const [A, B] = [world.box(a), world.box(b)]; return Math.max(B[0] - A[2], A[0] - B[2], B[1] - A[3], A[1] - B[3]) > 10; };
      if (things.every((other) => other.name !== one.name && apart(one, other))) things.push(one);
    }
    return { ground: any([...world.grounds.keys()]), things };
  }

  /** A stage for a model that a reader trained: one's own pictures, and no world. */
  class Frame extends Stage {
    /** `side`: pixels of the picture that the model looks at. */
    constructor(change, side = 96) {
      super(null, null, change, side);
    }

    /** Only the picture, and a way to bring one. */
    build() {
      const file = h("input", { type: "file", accept: "image/*", class: "mmt-file", "aria-label": "a picture of my own", onchange: (event) => this.take(event.target) });
      this.element = h("div", { class: "mmt-stage" }, h("div", { class: "mmt-picture" }, this.canvas), h("div", { class: "mmt-bar" }, h("label", { class: "mmt-upload" }, "A picture of my own ", file)), this.error);
    }

    show() {
      this.error.hidden = true;
      this.pixels = this.own || new Uint8Array(this.side * this.side * 3).fill(200);
      this.highlight(null);
      this.change(this.pixels, null);
    }

    highlight(weights) {
      paint(this.canvas, weights ? lit(this.pixels, weights, this.side) : this.pixels, this.side);
      this.canvas.setAttribute("aria-label", this.own ? "Your picture, as the model sees it" : "No picture yet");
    }
  }

  // --- To begin ----------------------------------------------------------------------------------------------------

  const STYLE = `
.mmt-live-on{border:1px solid #8889;border-radius:8px;padding:.8em;margin:1em 0;line-height:1.45;max-width:100%}
.mmt-live-on *{box-sizing:border-box}.mmt-live-on [hidden]{display:none!important}
.mmt-live-on p{margin:.4em 0}
.mmt-live-on .mmt-two{display:grid;gap:1em 1.4em;grid-template-columns:minmax(0,24em) minmax(0,1fr)}
.mmt-live-on .mmt-bar{align-items:center;display:flex;flex-wrap:wrap;gap:.4em .6em;margin:.5em 0}
.mmt-live-on button,.mmt-live-on select,.mmt-live-on input[type=text]{background:transparent;border:1px solid #888;border-radius:6px;color:inherit;font:inherit;
min-height:2.2em;padding:.2em .6em;max-width:100%}
.mmt-live-on select,.mmt-live-on input[type=text]{background:Field;color:FieldText}
.mmt-live-on button{cursor:pointer;min-width:2.2em}.mmt-live-on button:hover{background:#8883}.mmt-live-on button:disabled{cursor:default;opacity:.5}
.mmt-live-on :focus-visible{outline:3px solid #d95f02;outline-offset:2px}
.mmt-live-on .mmt-picture{aspect-ratio:1;max-width:24em;position:relative}
.mmt-live-on canvas{background:#fff;border-radius:4px;display:block;height:auto;max-width:100%;width:100%}
.mmt-live-on .mmt-things{inset:0;position:absolute}
.mmt-live-on .mmt-thing{background:none;border:2px dashed transparent;border-radius:4px;cursor:grab;min-height:0;min-width:0;padding:0;position:absolute;touch-action:none}
.mmt-live-on .mmt-thing:hover,.mmt-live-on .mmt-thing[aria-pressed=true]{background:none;border-color:#fff;outline:2px dashed #0072b2}
.mmt-live-on .mmt-choice{border:0;display:flex;flex-wrap:wrap;gap:.1em .9em;margin:.4em 0;padding:0}
.mmt-live-on .mmt-choice legend{float:left;font-weight:600;font-size:inherit;margin:0 .3em 0 0;padding:0;width:auto}
.mmt-live-on .mmt-sentence{display:flex;flex-wrap:wrap;font-size:1.15em;gap:.25em;list-style:none;margin:.4em 0;padding:0}
.mmt-live-on .mmt-sentence li{list-style:none;margin:0}.mmt-live-on .mmt-sentence button{border-color:#8886;min-width:0;padding:.1em .4em}
.mmt-live-on [aria-pressed=true]:not(.mmt-thing){background:#0072b2;border-color:#0072b2;color:#fff}
.mmt-live-on .mmt-true{color:#1b7a4b;font-weight:600}.mmt-live-on .mmt-false{color:#b3460a;font-weight:600}
html[data-theme=dark] .mmt-live-on .mmt-true{color:#5fd39a}html[data-theme=dark] .mmt-live-on .mmt-false{color:#ffa869}
.mmt-live-on .mmt-error{border-inline-start:4px solid #b3460a;padding-inline-start:.6em}
.mmt-live-on .mmt-small{font-size:.9em}.mmt-live-on .mmt-said{clip-path:inset(50%);height:1px;margin:0;overflow:hidden;position:absolute;width:1px}
.mmt-live-on label{display:inline-block;max-width:100%}.mmt-live-on .mmt-answers{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.4em 0}.mmt-live-on .mmt-answers td:last-child{white-space:nowrap}@media(max-width:360px){.mmt-live-on .mmt-answers td:last-child{white-space:normal}}.mmt-live-on .mmt-answers td,.mmt-live-on .mmt-answers th{padding:.15em .7em .15em 0;text-align:start}
.mmt-live-on .mmt-answers meter{width:min(7em,22vw)}
.mmt-live-on .mmt-found{display:flex;flex-wrap:wrap;gap:.4em;list-style:none;margin:.4em 0;padding:0}.mmt-live-on .mmt-found li{list-style:none;margin:0}
.mmt-live-on .mmt-hit{font-variant-numeric:tabular-nums;padding:.2em}.mmt-live-on .mmt-hit canvas{margin:0 auto .1em}
.mmt-live-on .mmt-pad{aspect-ratio:1;background:#fff;border:1px solid #888;border-radius:6px;cursor:crosshair;max-width:14em;position:relative;touch-action:none}
.mmt-live-on .mmt-dot{background:#0072b2;border-radius:50%;height:1em;left:50%;margin:-.5em;pointer-events:none;position:absolute;top:50%;width:1em}
.mmt-live-on .mmt-big{max-width:20em}.mmt-live-on .mmt-few{width:min(6em,29%)}.mmt-live-on .mmt-film{border-radius:6px;width:min(9em,45%)}
.mmt-live-on .mmt-mask{height:14em;image-rendering:pixelated}.mmt-live-on audio{height:2.6em;max-width:100%;width:16em}.mmt-live-on .mmt-label{min-width:7em}
.mmt-live-on .mmt-file{font:inherit;max-width:14em}
@media(max-width:720px){.mmt-live-on .mmt-two{grid-template-columns:minmax(0,1fr)}}`;

  /** Put an exhibit in the place of its button. */
  MMT.start = async function (place) {
    if (!document.getElementById("mmt-live-style")) document.head.append(h("style", { id: "mmt-live-style" }, STYLE));
    const name = place.dataset.exhibit;
    if (!MMT.exhibits[name]) await MMT.load(`${name}.js`);
    const built = await MMT.exhibits[name](place);
    const here = place.contains(document.activeElement) || document.activeElement === document.body;
    place.replaceChildren(...[built].flat().filter(Boolean));
    place.classList.add("mmt-live-on");
    place.removeAttribute("aria-busy");
    const first = place.querySelector("button, input, select");
    if (first && here) first.focus({ preventScroll: true }); // not away from where a reader types meanwhile
  };

  Object.assign(MMT, { wordsOf, alike, idsOf, need, model, h, choice, select, speaker, latest, paint, lit, photo, Stage, Frame, shuffled });
})();
