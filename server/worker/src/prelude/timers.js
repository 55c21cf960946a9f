// HTML standard: timers. The host waits; what they call lies here.
const timers = new Map();
let lastTimer = 0;

const startTimer = (callback, delay, values, repeats) => {
  if (typeof callback !== 'function') throw new TypeError('a timer calls a function');
  const ms = Math.max(Number(delay ?? 0) | 0, repeats ? 1 : 0);
  const id = lastTimer + 1;
  host.startTimer(id, ms);
  lastTimer = id;
  timers.set(id, { callback, ms, values, repeats });
  return id;
};
const stopTimer = (id) => {
  if (timers.delete(id)) host.stopTimer(id);
};
const fireTimer = (id) => {
  const { callback, ms, values, repeats } = timers.get(id);
  if (repeats) host.startTimer(id, ms);
  else timers.delete(id);
  callback(...values);
};

define('setTimeout', function setTimeout(callback, delay = 0, ...values) {
  return startTimer(callback, delay, values, false);
});
define('setInterval', function setInterval(callback, delay = 0, ...values) {
  return startTimer(callback, delay, values, true);
});
define('clearTimeout', function clearTimeout(id) {
  stopTimer(id);
});
define('clearInterval', function clearInterval(id) {
  stopTimer(id);
});
