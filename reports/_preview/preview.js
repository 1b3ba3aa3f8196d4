// The colour mode of a preview page: the reader's choice, else what the system prefers.
(function () {
  const key = "lensbook-colour-mode";
  const stored = localStorage.getItem(key);
  const dark = stored ? stored === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  function show(isDark) {
    document.body.classList.toggle("quarto-dark", isDark);
    document.body.classList.toggle("quarto-light", !isDark);
  }

  function label(button) {
    button.textContent = document.body.classList.contains("quarto-dark") ? "Light" : "Dark";
  }

  show(dark);
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("colour-mode");
    label(button);
    button.addEventListener("click", () => {
      const isDark = !document.body.classList.contains("quarto-dark");
      localStorage.setItem(key, isDark ? "dark" : "light");
      show(isDark);
      label(button);
    });
  });
})();
