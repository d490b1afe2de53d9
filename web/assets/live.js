// Keeps a page up to date. Without it every page works; one loads it again to see what changed.
//
// What may change is marked in the page itself: parts with `data-swap` and an id. When the server says that something happened
// (`data-live`: a stream of events) and every few seconds (`data-every`), the page is fetched anew and those parts are exchanged.
'use strict';

(() => {
  for (const form of document.querySelectorAll('form[method="post"]')) {
    form.addEventListener('submit', () => {
      // A button's name and value are part of the form: it is disabled only after they were read.
      setTimeout(() => form.querySelectorAll('button').forEach((button) => { button.disabled = true; }));
    });
  }
  window.addEventListener('pageshow', () => {
    document.querySelectorAll('form button').forEach((button) => { button.disabled = false; });
  });

  const live = document.querySelector('[data-live]');
  const timed = [...document.querySelectorAll('[data-every]')].map((part) => Number(part.dataset.every));
  const lines = document.getElementById('lines');
  if (lines) lines.scrollTop = lines.scrollHeight;
  if (!live && timed.length === 0) return;

  let fetching = false;
  let wanted = false;
  let stream = null;
  let over = false;

  async function refresh() {
    if (fetching) { wanted = true; return; }
    fetching = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: 'text/html' }, redirect: 'error' });
      if (answer.ok) swap(new DOMParser().parseFromString(await answer.text(), 'text/html'));
    } catch {
      // The server is away; the next round asks again.
    }
    fetching = false;
    if (wanted) { wanted = false; setTimeout(refresh, 300); }
  }

  function swap(fresh) {
    for (const part of document.querySelectorAll('[data-swap][id]')) {
      const other = fresh.getElementById(part.id);
      if (!other || other.outerHTML === (part.seen || part.outerHTML)) continue;
      const held = part.contains(document.activeElement) ? document.activeElement : null;
      // What someone is filling in stays.
      if (held && held.matches('input, textarea, select')) continue;
      const seen = other.outerHTML;
      if (part.touched) other.open = part.open;
      const placed = document.importNode(other, true);
      Object.assign(placed, { seen, touched: part.touched });
      const bottom = part.scrollHeight - part.scrollTop - part.clientHeight < 40;
      const top = part.scrollTop;
      part.replaceWith(placed);
      if (placed === document.getElementById('lines')) placed.scrollTop = bottom ? placed.scrollHeight : top;
      if (held) twin(held, part, placed)?.focus({ preventScroll: true });
    }
  }

  // What stands where the focus was.
  function twin(held, part, placed) {
    if (held === part) return placed;
    if (held.matches('summary')) return placed.querySelector('summary');
    const href = held.getAttribute('href');
    return [...placed.querySelectorAll(held.tagName)].find((other) => other.getAttribute('href') === href);
  }

  document.addEventListener('click', (event) => {
    const details = event.target.closest && event.target.closest('summary') && event.target.closest('details');
    if (details) details.touched = true;
  });

  function follow() {
    if (!live || stream || over) return;
    stream = new EventSource(live.dataset.live);
    stream.addEventListener('event', () => { clearTimeout(follow.soon); follow.soon = setTimeout(refresh, 200); });
    stream.addEventListener('end', () => { over = true; leave(); refresh(); });
  }

  function leave() {
    if (stream) stream.close();
    stream = null;
  }

  // A page that nobody sees asks nothing, and holds none of the few connections that a browser has.
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) { leave(); } else { refresh(); follow(); }
  });
  if (timed.length) setInterval(() => { if (!document.hidden && !over) refresh(); }, Math.min(...timed) * 1000);
  if (!document.hidden) follow();
})();
