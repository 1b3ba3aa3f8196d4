// Draws charts in the page's colour mode and draws them again when the reader changes it.
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

  async function draw(chart) {
    const wanted = mode();
    if (chart.drawn === wanted) return;
    chart.drawn = wanted;
    const options = {
      mode: "vega-lite",
      renderer: "svg",
      actions: false,
      config: { background: "transparent", ...chart.configs[wanted] },
      tooltip: { theme: wanted },
    };
    try {
      await fonts;
      if (chart.result) chart.result.finalize();
      // Vega marks the data objects it reads, so each drawing gets its own copy.
      chart.result = await vegaEmbed(chart.element, structuredClone(chart.spec), options);
    } catch (error) {
      chart.element.textContent = "This figure could not be drawn: " + error.message;
    }
  }

  // A quick second change of mode waits for the first drawing to end.
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
    const bar = document.createElement("p");
    bar.className = "lensbook-save";
    bar.append("Save figure: ");
    for (const kind of ["svg", "png"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = kind.toUpperCase();
      button.addEventListener("click", () => save(chart, kind));
      bar.append(button);
    }
    return bar;
  }

  function start(name, spec, configs) {
    const frame = document.getElementById("chart-" + name);
    const chart = { name, spec, configs, element: frame.querySelector(".lensbook-chart") };
    frame.append(toolbar(chart));
    charts.push(chart);
    queue(chart);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const observer = new MutationObserver(() => charts.forEach(queue));
    observer.observe(document.body, { attributes: true, attributeFilter: ["class"] });
    charts.forEach(queue);
  });

  window.lensbook = { chart: start };
})();
