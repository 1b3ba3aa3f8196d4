// Draws charts for the width and the colour mode of the page, and draws them again when either changes.
(function () {
  const charts = [];
  const style = document.createElement("style");
  style.textContent = window.lensbookFaces;
  document.head.append(style);
  // Vega measures text as it draws, so the font has to be there before.
  const fonts = Promise.allSettled([...document.fonts].map((face) => face.load()));

  function mode() {
    return document.body.classList.contains("quarto-dark") ? "dark" : "light";
  }

  // A chart comes drawn for several widths, the widest first.
  function fitting(chart) {
    const room = chart.element.parentElement.clientWidth;
    return chart.drawn.find(([width]) => width <= room) || chart.drawn.at(-1);
  }

  async function draw(chart) {
    const [width, spec] = fitting(chart);
    const wanted = mode();
    if (chart.shown === wanted + width) return;
    chart.shown = wanted + width;
    const options = {
      mode: "vega-lite",
      renderer: "svg",
      actions: false,
      config: { ...window.lensbookThemes[wanted], background: "transparent" },
      tooltip: { theme: wanted },
    };
    try {
      await fonts;
      if (chart.result) chart.result.finalize();
      // Vega marks the data objects it reads, so each drawing gets its own copy.
      const own = structuredClone({ ...spec, datasets: chart.data });
      chart.result = await vegaEmbed(chart.element, own, options);
    } catch (error) {
      chart.element.textContent = "This figure could not be drawn: " + error.message;
    }
  }

  // A quick second change waits for the first drawing to end.
  function queue(chart) {
    chart.queue = (chart.queue || Promise.resolve()).then(() => draw(chart));
  }

  async function save(chart, kind) {
    await chart.queue;
    const view = chart.result.view;
    // On the page the figure is transparent; alone, its text needs the page's colour behind it.
    await view.background(getComputedStyle(document.body).backgroundColor).runAsync();
    const link = document.createElement("a");
    link.href = kind === "png" ? await view.toImageURL("png", 2) : await svgAddress(view);
    link.download = chart.name + "." + kind;
    link.click();
  }

  async function svgAddress(view) {
    const image = (await view.toSVG()).replace(">", "><style>" + window.lensbookFaces + "</style>");
    return URL.createObjectURL(new Blob([image], { type: "image/svg+xml" }));
  }

  function toolbar(chart) {
    const bar = document.createElement("span");
    bar.className = "lensbook-save";
    bar.append("Figure: ");
    for (const kind of ["svg", "png"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = kind.toUpperCase();
      button.addEventListener("click", () => save(chart, kind));
      bar.append(button);
    }
    return bar;
  }

  // What saves the picture stands beside what saves its data, where those follow.
  function placeToolbars() {
    const parts = [...document.querySelectorAll(".lensbook-figure, .lensbook-data")];
    for (const chart of charts) {
      const next = parts[parts.indexOf(chart.frame) + 1];
      const data = next && next.matches(".lensbook-data");
      if (data) next.prepend(toolbar(chart));
      else chart.frame.append(toolbar(chart));
    }
  }

  function start(name, drawn, data) {
    const frame = document.getElementById("chart-" + name);
    const chart = { name, drawn, data, frame, element: frame.querySelector(".lensbook-chart") };
    charts.push(chart);
    queue(chart);
    new ResizeObserver(() => queue(chart)).observe(chart.element.parentElement);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const observer = new MutationObserver(() => charts.forEach(queue));
    observer.observe(document.body, { attributes: true, attributeFilter: ["class"] });
    charts.forEach(queue);
    placeToolbars();
  });

  window.lensbook = { chart: start };
})();
