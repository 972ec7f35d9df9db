/* The book's small world in the page: to draw a scene as Python draws it, pixel by pixel, and to say what
   is true of it. All in whole numbers, as in mmtutor.world (scenes.py, cast.py, captions.py, questions.py). */
(function () {
  "use strict";
  const MMT = (window.MMT = window.MMT || {});
  const UNITS = 1024, SIDES = [288, 304, 320, 432, 464, 496]; // the last three are "large"
  const APART = 190, NEAR = 64, FAR = 256, SIDEWAYS = [360, 664], MIDDLE = [420, 604];
  const half = (n) => Math.floor(n / 2);

  /** The pixels of a picture that a script brought: RGB bytes. Such a picture has no alpha, so a canvas keeps its numbers. */
  async function pixelsOf(source) {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth, canvas.height = image.naturalHeight;
    const pen = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
    pen.drawImage(image, 0, 0);
    return { width: canvas.width, height: canvas.height, rgba: pen.getImageData(0, 0, canvas.width, canvas.height).data };
  }

  class World {
    /** From the file "world": the cast, the grounds and the words of the grammar. */
    static async from(file) {
      const one = new World();
      one.file = file;
      one.things = new Map(file.things.map((thing) => [thing.name, thing]));
      one.grounds = new Map();
      await Promise.all([
        ...file.things.map(async (thing) => (thing.sums = sumsOf(await pixelsOf(thing.image)))),
        ...file.grounds.map(async (ground) => one.grounds.set(ground.key, Object.assign(ground, { pixels: await pixelsOf(ground.image) }))),
      ]);
      one.lexicon = Object.fromEntries(Object.entries(file.words).map(([name, rows]) => [name, index(rows)]));
      one.patterns = file.questions.map(([name, rule]) => [name, new RegExp(`^(?:${rule.replace(/\(\?P</g, "(?<")})$`)]);
      return one;
    }

    // --- To draw ------------------------------------------------------------------------------------------

    /** Width and height of a thing in units. */
    extent(placed) {
      const thing = this.things.get(placed.name), longer = (placed.side * thing.stretch) >> 6;
      return [thing.width, thing.height].map((n) => Math.max(1, Math.floor((longer * n + 32) / 64)));
    }

    /** Left, top, right and bottom in units. */
    box(placed) {
      const [w, h] = this.extent(placed), left = placed.x - half(w), top = placed.y - half(h);
      return [left, top, left + w, top + h];
    }

    /** A scene { ground, things: [{ name, side, x, y, mirrored }] } as RGB bytes of 96 × 96. */
    draw(scene, size = 96) {
      const { rgba } = this.grounds.get(scene.ground).pixels, image = new Uint8Array(size * size * 3);
      for (let p = 0; p < size * size; p++) for (let c = 0; c < 3; c++) image[3 * p + c] = rgba[4 * p + c];
      for (const placed of scene.things) this.lay(image, placed, size);
      return image;
    }

    /** Lay one thing on a picture: its colours times its alpha, a white rim, and what is left of the ground. */
    lay(image, placed, size) {
      const thing = this.things.get(placed.name);
      const longer = Math.max(8, Math.floor((((placed.side * thing.stretch) >> 6) * size + half(UNITS)) / UNITS));
      const { colour, keep, wide, high } = this.sticker(thing, longer, placed.mirrored);
      const left = Math.floor((2 * placed.x * size + UNITS) / (2 * UNITS)) - half(wide);
      const top = Math.floor((2 * placed.y * size + UNITS) / (2 * UNITS)) - half(high);
      for (let y = Math.max(0, -top); y < high && top + y < size; y++)
        for (let x = Math.max(0, -left); x < wide && left + x < size; x++)
          for (let c = 0; c < 3; c++) {
            const at = ((top + y) * size + left + x) * 3 + c, from = y * wide + x;
            image[at] = Math.min(255, colour[from * 3 + c] + Math.floor((image[at] * keep[from] + 127) / 255));
          }
    }

    sticker(thing, longer, mirrored) {
      const key = `${longer} ${mirrored}`, kept = (thing.stickers = thing.stickers || new Map());
      if (!kept.has(key)) kept.set(key, rimmed(shrunk(thing, longer), mirrored));
      return kept.get(key);
    }

    // --- What is true -----------------------------------------------------------------------------------------

    size(placed) {
      return placed.side >= 400 ? "large" : "small";
    }

    places(placed) {
      const found = [];
      if (placed.x <= SIDEWAYS[0]) found.push("left");
      else if (placed.x >= SIDEWAYS[1]) found.push("right");
      if (placed.y <= SIDEWAYS[0]) found.push("top");
      else if (placed.y >= SIDEWAYS[1]) found.push("bottom");
      if ([placed.x, placed.y].every((n) => MIDDLE[0] <= n && n <= MIDDLE[1])) found.push("middle");
      return found;
    }

    /** Whether thing i stands in a relation to thing j; a later one lies before an earlier one. */
    related(scene, i, relation, j) {
      const a = scene.things[i], b = scene.things[j], [A, B] = [this.box(a), this.box(b)];
      const aside = (along, across) => along >= APART && 2 * along >= Math.abs(across);
      const gap = () => Math.max(B[0] - A[2], A[0] - B[2], B[1] - A[3], A[1] - B[3]);
      const bigger = (one, two) => this.size(one) === "large" && this.size(two) === "small";
      switch (relation) {
        case "left of": return aside(b.x - a.x, b.y - a.y);
        case "right of": return aside(a.x - b.x, b.y - a.y);
        case "above": return aside(b.y - a.y, b.x - a.x);
        case "below": return aside(a.y - b.y, b.x - a.x);
        case "near": return gap() <= NEAR;
        case "far from": return gap() >= FAR;
        case "bigger than": return bigger(a, b);
        case "smaller than": return bigger(b, a);
        default: {
          const shared = Math.max(0, Math.min(A[2], B[2]) - Math.max(A[0], B[0])) * Math.max(0, Math.min(A[3], B[3]) - Math.max(A[1], B[1]));
          const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
          return 8 * shared >= Math.min(area(A), area(B)) && i > j === (relation === "in front of");
        }
      }
    }

    members(scene, group) {
      return scene.things.flatMap((placed, i) => {
        const one = this.things.get(placed.name), named = ["thing", one.name, one.kind].includes(group.noun);
        return named && (!group.size || group.size === this.size(placed)) && (!group.colour || group.colour === one.colour) ? [i] : [];
      });
    }

    /** Whether as many members of a noun phrase as its determiner says meet a claim. */
    counts(scene, group, claim) {
      const members = this.members(scene, group), meeting = members.filter(claim).length, number = NUMBERS[group.determiner];
      if (group.determiner === "the") return meeting === members.length && (group.plural ? members.length >= 2 : members.length === 1);
      if (group.determiner === "a") return meeting >= 1;
      if (group.determiner === "some") return meeting >= 2;
      return meeting === (number || 0);
    }

    meets(scene, i, claim) {
      if (claim.at) return claim.at.every((place) => this.places(scene.things[i]).includes(place));
      if (claim.sized) return this.size(scene.things[i]) === claim.sized;
      return this.counts(scene, claim.object, (j) => j !== i && this.related(scene, i, claim.relation, j));
    }

    /** Whether a statement is true of a scene. Groups joined by "and" speak of different things. */
    holds({ groups, claims, ground }, scene) {
      if (ground && ground !== this.grounds.get(scene.ground).name) return false;
      const all = (i) => claims.every((claim) => this.meets(scene, i, claim));
      if (!groups.every((group) => this.counts(scene, group, all))) return false;
      const spoken = groups.map((group) => {
        const d = group.determiner, least = d === "the" || d === "a" ? (group.plural ? 2 : 1) : d === "some" ? 2 : NUMBERS[d] || 0;
        return { least, things: this.members(scene, group).filter(all) };
      });
      // Hall's theorem: each group has things of its own if any few groups have enough between them
      for (let few = 1; few < 1 << spoken.length; few++) {
        const chosen = spoken.filter((_, k) => (few >> k) & 1);
        if (chosen.reduce((n, one) => n + one.least, 0) > new Set(chosen.flatMap((one) => one.things)).size && chosen.length > 1) return false;
      }
      return true;
    }

    /** "true", "false" or "unparsable": a caption, held against a scene. */
    verdict(caption, scene) {
      const readings = new Reader(this.lexicon, caption).caption();
      if (!readings.length) return "unparsable";
      return readings.some((reading) => this.holds(reading, scene)) ? "true" : "false";
    }

    // --- The answer to a question: from the truth, or null where it presupposes what is not so ------------------

    answer(question, scene) {
      const words = question.toLowerCase().replace(/[?!.]/g, " ").split(/\s+/).filter(Boolean).join(" ");
      let rule, parts;
      for (const [name, pattern] of this.patterns) {
        const match = pattern.exec(words);
        if (match) { rule = name, (parts = match.groups || {}); break; }
      }
      if (!rule) return undefined; // no question of this world
      const things = scene.things, facts = this.file, number = ["zero", "one", "two", "three", "four"];
      const only = (name) => { const found = things.flatMap((t, i) => (t.name === name ? [i] : [])); return found.length === 1 ? found[0] : null; };
      const fits = (placed, noun, plural) => {
        const one = this.things.get(placed.name), kind = facts.kinds[one.kind];
        return ["thing", "things"].includes(noun) || noun === (plural ? one.plural : one.name) || (kind && noun === kind[+plural]);
      };
      const meeting = () => {
        if (parts.place) return things.flatMap((t, i) => (this.places(t).includes(facts.places[parts.place]) ? [i] : []));
        const to = only(parts.object);
        return to === null ? null : things.flatMap((_, i) => (i !== to && this.related(scene, i, facts.relations[parts.relation], to) ? [i] : []));
      };
      if (rule === "background") return this.grounds.get(scene.ground).name;
      if (["what", "kind", "colour"].includes(rule)) {
        const found = meeting();
        if (!found || found.length !== 1) return null;
        const one = this.things.get(things[found[0]].name);
        return { what: one.name, kind: one.kind, colour: one.colour }[rule];
      }
      if (rule === "how many") return number[things.filter((t) => fits(t, parts.plural, true)).length];
      if (rule === "more") {
        const [a, b] = ["plural", "other"].map((key) => things.filter((t) => fits(t, parts[key], true)).length);
        return a > b ? "yes" : "no";
      }
      if (rule === "exists") {
        if ((parts.article === "an") !== "aeiou".includes(parts.subject[0])) return undefined;
        const wanted = parts.place && facts.places[parts.place];
        return things.some((t) => fits(t, parts.subject, false) && (!wanted || this.places(t).includes(wanted))) ? "yes" : "no";
      }
      const i = only(parts.subject);
      if (i === null) return null;
      if (rule === "where") return this.places(things[i]).reverse().join(" ") || null;
      if (rule === "size") return this.size(things[i]);
      if (rule === "holds") {
        const found = meeting();
        return !found || parts.object === parts.subject ? null : found.includes(i) ? "yes" : "no";
      }
      const j = only(parts.object);
      if (j === null || j === i) return null;
      if (this.related(scene, i, "bigger than", j)) return things[parts.way === "bigger" ? i : j].name;
      if (this.related(scene, j, "bigger than", i)) return things[parts.way === "bigger" ? j : i].name;
      return null;
    }
  }

  // --- A thing's picture at any size ---------------------------------------------------------------------------------

  /** Sums over the large drawing from its corner; [y, x] is of all above y and left of x. Its colours (times
      alpha) lie in the upper half of the picture, its alpha in the lower. */
  function sumsOf({ width, height, rgba }) {
    const high = height / 2, sums = new Int32Array((high + 1) * (width + 1) * 4);
    for (let y = 0; y < high; y++)
      for (let x = 0; x < width; x++)
        for (let c = 0; c < 4; c++) {
          const value = c < 3 ? rgba[(y * width + x) * 4 + c] : rgba[((y + high) * width + x) * 4];
          const at = ((y + 1) * (width + 1) + x + 1) * 4 + c, line = (width + 1) * 4;
          sums[at] = value + sums[at - 4] + sums[at - line] - sums[at - line - 4];
        }
    return { width, height: high, sums };
  }

  /** The means of the drawing over the pixels of a smaller picture: four sums tell each, in whole numbers. */
  function shrunk(thing, longer) {
    const { width, height, sums } = thing.sums, wide = Math.max(1, Math.floor((longer * thing.width + 32) / 64));
    const high = Math.max(1, Math.floor((longer * thing.height + 32) / 64)), area = width * height;
    const cut = (i, source, target) => { const at = Math.floor((i * source) / target); return [at, Math.min(at + 1, source), i * source - at * target]; };
    const corner = (i, j, c) => {
      const [y, nextY, down] = cut(i, height, high), [x, nextX, across] = cut(j, width, wide);
      const at = (v, u) => sums[(v * (width + 1) + u) * 4 + c];
      const upper = (u) => at(y, u) * (high - down) + at(nextY, u) * down;
      return upper(x) * (wide - across) + upper(nextX) * across;
    };
    const out = new Uint8Array(wide * high * 4), corners = new Float64Array((high + 1) * (wide + 1));
    for (let c = 0; c < 4; c++) {
      for (let i = 0; i <= high; i++) for (let j = 0; j <= wide; j++) corners[i * (wide + 1) + j] = corner(i, j, c);
      for (let i = 0; i < high; i++)
        for (let j = 0; j < wide; j++) {
          const at = i * (wide + 1) + j, total = corners[at + wide + 2] - corners[at + 1] - corners[at + wide + 1] + corners[at];
          out[(i * wide + j) * 4 + c] = Math.floor((2 * total + area) / (2 * area));
        }
    }
    return { wide, high, pixels: out };
  }

  /** With a rim of one pixel that is white and lets a little of the ground through, ready to be laid on. */
  function rimmed({ wide, high, pixels }, mirrored) {
    const W = wide + 2, H = high + 2, colour = new Int32Array(W * H * 3), keep = new Int32Array(W * H);
    const from = (y, x) => (y < 1 || x < 1 || y > high || x > wide ? -1 : ((y - 1) * wide + (mirrored ? wide - x : x - 1)) * 4);
    const alpha = (y, x) => { const at = from(y, x); return at < 0 ? 0 : pixels[at + 3]; };
    for (let y = 0; y < H; y++)
      for (let x = 0; x < W; x++) {
        let most = 0;
        for (let dy = -1; dy < 2; dy++) for (let dx = -1; dx < 2; dx++) most = Math.max(most, alpha(y + dy, x + dx));
        const a = alpha(y, x), rest = Math.floor((Math.floor((most * 225) / 255) * (255 - a) + 127) / 255), at = from(y, x);
        for (let c = 0; c < 3; c++) colour[(y * W + x) * 3 + c] = (at < 0 ? 0 : pixels[at + c]) + rest;
        keep[y * W + x] = 255 - Math.min(255, a + rest);
      }
    return { colour, keep, wide: W, high: H };
  }

  // --- To understand a caption: each rule takes a position and gives all (meaning, next position) --------------------

  const NUMBERS = { one: 1, two: 2, three: 3, four: 4 };
  const OPPOSITE = { "left of": "right of", "right of": "left of", above: "below", below: "above", "in front of": "behind", behind: "in front of", near: "near", "far from": "far from" };

  /** Phrases by their first word, the longest first. */
  function index(rows) {
    const table = {};
    for (const [phrase, meaning] of rows) {
      const words = phrase.split(" ");
      (table[words[0]] = table[words[0]] || []).push([words, meaning]);
    }
    Object.values(table).forEach((own) => own.sort((a, b) => b[0].length - a[0].length));
    return table;
  }

  class Reader {
    constructor(lexicon, caption) {
      this.lexicon = lexicon;
      this.words = caption.toLowerCase().replace(/\.$/, "").split(/\s+/).filter(Boolean);
      this.end = this.words.length;
    }

    word(at) { return at < this.end ? this.words[at] : ""; }

    phrase(table, at) {
      const rows = Object.prototype.hasOwnProperty.call(this.lexicon[table], this.word(at)) ? this.lexicon[table][this.word(at)] : [];
      return rows.filter(([words]) => words.every((w, i) => this.words[at + i] === w)).map(([words, meaning]) => [meaning, at + words.length]);
    }

    literal(text, at) {
      const words = text.split(" ");
      return words.every((w, i) => this.words[at + i] === w) ? at + words.length : null;
    }

    group(at) {
      let determiner = this.word(at), start = at + 1, size = null, colour = null;
      if (!["a", "an", "the", "one", "two", "three", "four", "some", "no"].includes(determiner)) return [];
      const vowel = "aeiou".includes(this.word(start)[0] || "-");
      if ((determiner === "an" && !vowel) || (determiner === "a" && vowel)) return [];
      if (determiner === "an") determiner = "a";
      if (["small", "large"].includes(this.word(start))) size = this.word(start++);
      if (this.lexicon.colour[this.word(start)]) colour = this.word(start++);
      return this.phrase("noun", start).flatMap(([[noun, plural], after]) => {
        const agrees = ["two", "three", "four", "some"].includes(determiner) ? plural : !plural;
        return agrees || determiner === "the" || determiner === "no" ? [[{ determiner, noun, plural, size, colour }, after]] : [];
      });
    }

    groups(at) {
      return this.group(at).flatMap(([group, after]) => [
        [[group], after],
        ...(this.word(after) === "and" ? this.groups(after + 1).map(([more, end]) => [[group, ...more], end]) : []),
      ]);
    }

    claim(at, adjectives) {
      const out = [], named = (relation, after) => this.group(after).forEach(([object, end]) => object.determiner !== "no" && out.push([{ relation, object }, end]));
      for (const [relation, after] of this.phrase("relation", at)) if (adjectives || !relation.endsWith(" than")) named(relation, after);
      for (const [places, after] of this.phrase("place", at)) out.push([{ at: places }, after]);
      if (adjectives && ["small", "large"].includes(this.word(at))) out.push([{ sized: this.word(at) }, at + 1]);
      for (const verb of ["hidden", "covered"]) {
        const after = adjectives ? this.literal(`partly ${verb} by`, at) : null;
        if (after !== null) named("behind", after);
      }
      return out;
    }

    claims(at, adjectives = false) {
      return this.claim(at, adjectives).flatMap(([claim, after]) => [
        [[claim], after],
        ...(this.word(after) === "and" ? this.claims(after + 1, adjectives).map(([more, end]) => [[claim, ...more], end]) : []),
      ]);
    }

    groundToEnd(at, optional = true) {
      return [...(optional && at === this.end ? [null] : []), ...this.phrase("ground", at).filter(([, after]) => after === this.end).map(([ground]) => ground)];
    }

    rest(groups, at) {
      return [
        ...this.groundToEnd(at).map((ground) => ({ groups, claims: [], ground })),
        ...this.claims(at).flatMap(([claims, after]) => this.groundToEnd(after).map((ground) => ({ groups, claims, ground }))),
      ];
    }

    there(at) {
      const be = this.word(at + 1);
      if (this.word(at) !== "there" || !["is", "are"].includes(be)) return [];
      return this.groups(at + 2).filter(([groups]) => groups[0].plural === (be === "are"));
    }

    caption() {
      const out = [], on = (ground, found) => found.filter((s) => !s.ground && s.claims.length).forEach((s) => out.push({ ...s, ground }));
      for (const [groups, after] of this.there(0)) out.push(...this.rest(groups, after));
      for (const opening of ["see", "picture"])
        for (const [, start] of this.phrase(opening, 0)) for (const [groups, after] of this.groups(start)) out.push(...this.rest(groups, after));
      for (const [ground, start] of this.phrase("ground", 0)) {
        const openings = [...this.there(start), ...this.phrase("see", start).flatMap(([, at]) => this.groups(at))];
        for (const [groups, after] of openings) {
          if (after === this.end) out.push({ groups, claims: [], ground });
          for (const [claims, end] of this.claims(after)) if (end === this.end) out.push({ groups, claims, ground });
        }
        on(ground, this.sentence(start));
      }
      for (const [ground, start] of this.phrase("landscape", 0)) {
        if (this.word(start) === "with")
          for (const [groups, after] of this.groups(start + 1)) if (after === this.end) out.push({ groups, claims: [], ground });
        if (this.word(start) === "where") on(ground, this.sentence(start + 1));
      }
      const start = this.literal("the background is", 0);
      if (start !== null) for (const [ground, after] of this.phrase("landscape", start)) if (after === this.end) out.push({ groups: [], claims: [], ground });
      out.push(...this.sentence(0));
      for (const [groups, after] of this.groups(0)) {
        if (after < this.end) out.push(...this.rest(groups, after));
        if (groups.length === 1) out.push(...this.pair(groups[0], after));
      }
      return out;
    }

    sentence(at) {
      const out = [];
      for (const [groups, after] of this.groups(at)) {
        const be = groups.length > 1 || groups[0].plural ? "are" : "is", seen = this.literal("can be seen", after);
        if (seen !== null && seen < this.end) out.push(...this.rest(groups, seen));
        if (this.word(after) !== be) continue;
        for (const ground of this.groundToEnd(after + 1, false)) out.push({ groups, claims: [], ground });
        const shown = ["seen", "shown"].includes(this.word(after + 1));
        for (const [claims, end] of this.claims(shown ? after + 2 : after + 1, !shown))
          for (const ground of this.groundToEnd(end)) out.push({ groups, claims, ground });
      }
      return out;
    }

    pair(group, at) {
      const out = [];
      if (this.word(at) === "with" && !group.plural && ["a", "the", "one"].includes(group.determiner))
        for (const [object, after] of this.group(at + 1))
          if (object.determiner !== "no")
            for (const [relation, end] of this.phrase("aside", after))
              for (const ground of this.groundToEnd(end)) out.push({ groups: [group], claims: [{ relation: OPPOSITE[relation], object }], ground });
      const verbs = group.plural ? ["hide", "cover"] : ["hides", "covers"];
      if (this.word(at) === "partly" && verbs.includes(this.word(at + 1)))
        for (const [object, after] of this.group(at + 2))
          if (object.determiner !== "no") for (const ground of this.groundToEnd(after)) out.push({ groups: [group], claims: [{ relation: "in front of", object }], ground });
      return out;
    }
  }

  Object.assign(MMT, { World, SIDES, UNITS, pixelsOf });
})();
