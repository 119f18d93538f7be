// Shows the figures for the slider's threshold; the server has computed them for every step.
const slider = document.getElementById("threshold");
if (slider) {
  const steps = JSON.parse(document.getElementById(slider.dataset.steps).textContent);
  const cells = document.querySelectorAll("#what-if [data-figure]");
  const digits = { flagged: 0, per_day: 1 };
  const byHand = document.querySelector('input[name="value"]');
  const strategy = document.querySelector('select[name="strategy"]');
  const show = () => {
    const step = steps[Number(slider.value)];
    for (const cell of cells) {
      const value = step[cell.dataset.figure];
      cell.textContent = value === null ? "–" : value.toFixed(digits[cell.dataset.figure] ?? 3);
    }
    slider.setAttribute("aria-valuetext", step.threshold.toFixed(3));
  };
  slider.addEventListener("input", () => {
    show();
    if (byHand) byHand.value = steps[Number(slider.value)].threshold.toFixed(4);
    if (strategy) strategy.value = "manual";
  });
  show();
}
