// Checks a page against WCAG 2.2 AA as far as a program can: names, labels, sizes and contrast.
() => {
  const found = [];
  const visible = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && e.getClientRects().length
    && !e.closest('.spoken, .skip');
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (css) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3])).concat(1);
  const behind = (e) => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const light = (c) => {
    const [r, g, b] = c.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (const e of document.body.querySelectorAll('*')) {
    const text = [...e.childNodes].filter((n) => n.nodeType === 3).map((n) => n.textContent.trim()).join('');
    if (!text || !visible(e) || e.closest('option, :disabled, #plate')) continue;
    const under = behind(e);
    const [a, b] = [light(over(rgba(getComputedStyle(e).color), under)), light(under)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(2)}: ${text.slice(0, 40)}`);
  }
  for (const e of document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea')) {
    if (!visible(e) || e.closest('.drop')) continue;
    const box = (e.closest('label.tick, tr:has(.open-study)') ?? e).getBoundingClientRect();
    const isInText = e.matches('p a, dd a, .detail a');
    if (!isInText && Math.min(box.width, box.height) < 24) found.push(`target ${box.width}x${box.height}: ${e.outerHTML.slice(0, 80)}`);
    const name = e.getAttribute('aria-label') || e.labels?.[0]?.textContent.trim() || e.textContent.trim();
    if (!name) found.push(`no name: ${e.outerHTML.slice(0, 80)}`);
  }
  for (const e of document.querySelectorAll('img:not([alt])')) found.push(`no alt: ${e.outerHTML.slice(0, 80)}`);
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  for (const id of ids.filter((id, at) => ids.indexOf(id) !== at)) found.push(`two elements are #${id}`);
  if (document.querySelectorAll('h1').length !== 1) found.push('not one h1');
  if (!document.documentElement.lang || !document.title) found.push('no language or title');
  if (document.documentElement.scrollWidth > innerWidth + 1) found.push(`wider than the window: ${document.documentElement.scrollWidth}`);
  return found;
}
