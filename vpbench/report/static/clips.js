"use strict";
// The viewer of a clip, and the order of the gallery. Texts of results are set as text, never as markup.
(() => {
  const PERIOD = 250; // milliseconds per step while playing
  const BLINK = 700; // milliseconds per picture while blinking
  const SMALL = 128; // pixels of the longest side up to which pixels are shown as squares

  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const stepText = (step) => (step ? `t${step > 0 ? "+" : "−"}${Math.abs(step)}` : "t");
  const cost = (value, better) => (better === "higher" ? -value : better === "lower" ? value : Math.abs(value - better));

  function element(tag, text, className) {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (className) node.className = className;
    return node;
  }

  const images = new Map();
  function image(source, redraw) {
    if (!images.has(source)) {
      const loading = new Image();
      loading.addEventListener("load", redraw);
      loading.src = source;
      images.set(source, loading);
    }
    return images.get(source);
  }

  function openViewer(root) {
    const data = read("clip-data");
    const control = (name) => root.querySelector(`[name="${name}"]`);
    const value = (name) => root.querySelector(`[name="${name}"]:checked`).value;
    const panes = root.querySelector(".panes");
    const output = root.querySelector("output");
    const slider = control("step");
    const context = data.truth.context;
    const sheets = [...Object.values(data.truth), ...data.predictors.flatMap((p) => Object.values(p.sheets))];
    const steps = [...new Set(sheets.flatMap((sheet) => sheet.steps))].sort((a, b) => a - b);
    const truth = { name: "truth", sheets: data.truth, scores: {}, isTruth: true };
    const contestants = [truth, ...data.predictors];
    let playing = 0, blinking = 0, second = false;

    slider.max = steps.length - 1;
    slider.value = Math.max(0, steps.findIndex((step) => step > 0));
    for (const name of ["first", "second"]) {
      contestants.forEach((contestant, place) => {
        const option = element("option", contestant.name);
        option.value = place;
        control(name).append(option);
      });
    }
    control("first").value = Math.min(1, contestants.length - 1);
    control("second").value = Math.min(2, contestants.length - 1);
    const asked = location.hash.slice(1).split(",").filter((text) => /^\d+$/.test(text)).map(Number);
    const boxes = [...root.querySelectorAll('[name="predictor"]')];
    if (asked.some((place) => place < boxes.length)) {
      boxes.forEach((box, place) => { box.checked = asked.includes(place); });
      [control("first").value, control("second").value] = [asked[0] + 1, (asked[1] ?? asked[0]) + 1];
    }

    const step = () => steps[Number(slider.value)];

    // Before t+1 every contestant shows the context that it was given.
    function sheetOf(contestant, view) {
      if (step() <= 0) return view === "frames" || !contestant.isTruth || !data.truth[data.views[view][0]] ? context : undefined;
      const [true_, predicted] = data.views[view];
      return contestant.isTruth ? data.truth[true_] : contestant.sheets[predicted];
    }

    function makePane(contestant) {
      const figure = element("figure", undefined, "pane");
      const canvas = element("canvas");
      canvas.setAttribute("role", "img");
      const caption = element("figcaption");
      const list = element("dl");
      figure.append(canvas, caption, list);
      panes.append(figure);
      return { contestant, canvas, caption, list };
    }

    function draw(pane, view) {
      const sheet = sheetOf(pane.contestant, view);
      const [height, width] = (sheet || sheets[0]).size;
      const place = sheet ? sheet.steps.indexOf(step()) : -1;
      if (pane.canvas.width !== width || pane.canvas.height !== height) {
        [pane.canvas.width, pane.canvas.height] = [width, height];
      }
      pane.canvas.classList.toggle("small", Math.max(height, width) <= SMALL);
      const pen = pane.canvas.getContext("2d");
      pen.clearRect(0, 0, width, height);
      const title = root.querySelector(`[name="view"][value="${view}"]`).parentElement.textContent.trim().toLowerCase();
      const isFrame = view === "frames" || (view === "error" && pane.contestant.isTruth);
      let note = step() <= 0 ? "context" : isFrame ? "" : title;
      if (place < 0) {
        note = sheet ? "none at this step" : `no ${step() > 0 ? title : "context"}`;
      } else {
        const source = image(sheet.source, update);
        const x = (place % sheet.columns) * width, y = Math.floor(place / sheet.columns) * height;
        if (source.complete && source.naturalWidth) pen.drawImage(source, x, y, width, height, 0, 0, width, height);
      }
      pane.canvas.setAttribute("aria-label", `${pane.contestant.name}, ${note || "frame"}, ${stepText(step())}`);
      pane.caption.replaceChildren(pane.contestant.name, ...(note ? [" ", element("small", note)] : []));
    }

    function drawScores(shown) {
      const at = (pane, metric) => (pane.contestant.scores[metric] || {})[step()];
      for (const pane of shown) {
        const rows = data.metrics.filter(([metric]) => at(pane, metric)).map(([metric, better]) => {
          const costs = shown.map((other) => at(other, metric)).filter(Boolean).map(([number]) => cost(number, better));
          const [number, text] = at(pane, metric);
          const isBest = costs.length > 1 && cost(number, better) === Math.min(...costs);
          const row = element("div");
          row.append(element("dt", metric), element("dd", text, isBest ? "best" : ""));
          return row;
        });
        pane.list.replaceChildren(...rows);
      }
    }

    let shown = [];
    function arrange() {
      const swap = value("mode") === "swap";
      root.querySelector(".swap").hidden = !swap;
      root.querySelector(".side").hidden = swap;
      panes.classList.toggle("one", swap);
      panes.replaceChildren();
      const chosen = swap
        ? [contestants[Number(control(second ? "second" : "first").value)]]
        : [truth, ...boxes.filter((box) => box.checked).map((box) => data.predictors[Number(box.value)])];
      shown = chosen.filter((c) => !c.isTruth || Object.keys(data.truth).length).map(makePane);
      update();
    }

    function update() {
      const view = value("view");
      root.querySelectorAll(".legend").forEach((legend) => { legend.hidden = legend.dataset.view !== view; });
      output.replaceChildren(stepText(step()), ...(step() <= 0 ? [element("small", " context")] : []));
      slider.setAttribute("aria-valuetext", stepText(step()) + (step() <= 0 ? ", context" : ""));
      shown.forEach((pane) => draw(pane, view));
      drawScores(shown);
    }

    function swapPictures() {
      second = !second;
      const pane = shown[0];
      pane.contestant = contestants[Number(control(second ? "second" : "first").value)];
      update();
    }

    const go = (place) => { slider.value = (place + steps.length) % steps.length; update(); };
    const stop = () => { clearInterval(playing); playing = 0; showPlay(); };
    function showPlay() {
      control("play").textContent = playing ? "Pause" : "Play";
      control("play").setAttribute("aria-pressed", String(Boolean(playing)));
    }
    function togglePlay() {
      if (playing) { stop(); return; }
      playing = setInterval(() => go(Number(slider.value) + 1), PERIOD);
      showPlay();
    }
    function showBlink() {
      clearInterval(blinking);
      blinking = control("blink").checked && value("mode") === "swap" ? setInterval(swapPictures, BLINK) : 0;
    }

    root.addEventListener("change", (event) => {
      if (event.target === slider) return;
      if (["mode", "predictor", "first", "second"].includes(event.target.name)) arrange();
      if (["mode", "blink"].includes(event.target.name)) showBlink();
      update();
    });
    slider.addEventListener("input", () => { stop(); update(); });
    control("play").addEventListener("click", togglePlay);
    control("swap").addEventListener("click", swapPictures);
    document.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const target = event.target;
      const takesKeys = target.matches("select, textarea, input:not([type=checkbox])");
      const arrow = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (arrow && !takesKeys) { stop(); go(Number(slider.value) + arrow); event.preventDefault(); }
      if (event.key === " " && !target.matches("button, select, input:not([type=range]), summary, a")) { togglePlay(); event.preventDefault(); }
      if (event.key.toLowerCase() === "b" && !target.matches("select")) {
        if (value("mode") !== "swap") { root.querySelector('[name="mode"][value="swap"]').checked = true; arrange(); showBlink(); } else swapPictures();
      }
    });

    root.hidden = false;
    document.querySelector(".strips").open = false;
    sheets.forEach((sheet) => image(sheet.source, update));
    arrange();
  }

  function orderGallery(form, list) {
    const data = read("gallery-data");
    const items = [...list.children];
    const control = (name) => form.elements[name];

    function thumb(entry, name, metric, box) {
      const figure = element("figure", undefined, "thumb");
      const frame = element("div", undefined, "box");
      frame.style.aspectRatio = box.style.aspectRatio;
      const picture = element("img");
      picture.src = entry.source;
      picture.alt = name;
      picture.style.cssText = entry.style;
      frame.append(picture);
      const caption = element("figcaption", name);
      if (entry.texts[metric]) caption.append(element("b", entry.texts[metric]));
      figure.append(frame, caption);
      return figure;
    }

    function apply() {
      const metric = control("metric").value;
      const better = (data.metrics.find(([name]) => name === metric) || [metric, "lower"])[1];
      const [first, second] = [Number(control("first").value), Number(control("second").value)];
      const order = control("order").value;
      const loss = (clip, place) => {
        const entry = data.clips[clip].predictors[place];
        const mean = entry && entry.means[metric];
        return mean === null || mean === undefined ? NaN : cost(mean, better);
      };
      const clips = items.map((item) => Number(item.dataset.clip));
      const losses = clips.map((clip) => loss(clip, first)).filter((number) => !Number.isNaN(number)).sort((a, b) => a - b);
      const middle = losses[Math.floor((losses.length - 1) / 2)];
      const key = (clip) => {
        const number = loss(clip, first);
        if (order === "differ") return -Math.abs(number - loss(clip, second));
        return order === "best" ? number : order === "worst" ? -number : Math.abs(number - middle);
      };
      const ranked = items.map((item) => [key(Number(item.dataset.clip)), item]);
      ranked.sort(([a], [b]) => (Number.isNaN(a) || Number.isNaN(b) ? Number.isNaN(a) - Number.isNaN(b) : a - b));
      list.replaceChildren(...ranked.map(([, item]) => item));
      control("second").parentElement.hidden = order !== "differ" && data.names.length < 2;
      for (const item of items) {
        const predictors = data.clips[Number(item.dataset.clip)].predictors;
        const thumbs = item.querySelector(".thumbs");
        const box = thumbs.querySelector(".box");
        const truth = item.truth || (item.truth = [...thumbs.children].slice(0, "hasTruth" in item.dataset ? 1 : 0));
        const chosen = [...new Set([first, second])].filter((place) => predictors[place]);
        thumbs.replaceChildren(...truth, ...chosen.map((place) => thumb(predictors[place], data.names[place], metric, box)));
        const link = item.querySelector("a");
        link.hash = chosen.map((place) => predictors[place].place).join(",");
      }
    }

    form.hidden = false;
    form.addEventListener("change", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    apply();
  }

  const viewer = document.getElementById("viewer");
  if (viewer) openViewer(viewer);
  const form = document.getElementById("gallery-order");
  if (form) orderGallery(form, document.getElementById("gallery"));
})();
