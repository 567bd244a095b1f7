// What `slidelane doctor` would say of a service, as far as the service itself can tell.
import { bytes } from '../format.js';

const LEAST_FREE_SHARE = 0.05;

/**
 * Return the checks of a system, those that need a look first.
 * @param {object} system as GET /v1/system answers
 * @returns {{what: string, isFine: boolean, text: string}[]}
 */
export function checksOf(system) {
  const checks = [
    redisCheck(system.redis),
    workersCheck(system.workers),
    queuesCheck(system.queues),
    ...system.disk.map(diskCheck),
    algorithmsCheck(system.algorithms),
  ];
  return checks.sort((one, other) => Number(one.isFine) - Number(other.isFine));
}

function redisCheck({ durable, evicts }) {
  const what = 'Redis';
  if (evicts) {
    return { what, isFine: false, text: 'It may throw orders away: set maxmemory-policy noeviction.' };
  }
  if (durable === false) {
    return { what, isFine: false, text: 'Orders are lost when it ends: set appendonly yes.' };
  }
  return { what, isFine: true, text: 'It answers, and orders outlive a restart.' };
}

function workersCheck(workers) {
  const what = 'Workers';
  if (workers.length === 0) {
    return { what, isFine: false, text: 'None is up: orders wait. slidelane serve starts them.' };
  }
  if (!workers.some((worker) => worker.offered === null)) {
    return { what, isFine: false, text: 'No courier is up: nothing is fetched or delivered.' };
  }
  if (!workers.some((worker) => worker.offered !== null)) {
    return { what, isFine: false, text: 'Only couriers are up: nothing is classified.' };
  }
  return { what, isFine: true, text: `${workers.length} are up.` };
}

function queuesCheck(queues) {
  const what = 'Queues';
  const dead = queues.filter((queue) => queue.waiting > 0 && queue.workers === 0);
  if (dead.length) {
    const names = dead.map((queue) => queue.name).join(', ');
    return { what, isFine: false, text: `Work waits where no worker listens: ${names}.` };
  }
  return { what, isFine: true, text: 'Whatever waits has workers.' };
}

function diskCheck({ folder, bytes: total, free_bytes: free }) {
  const what = `Disk of ${folder}`;
  if (total && free < LEAST_FREE_SHARE * total) {
    return { what, isFine: false, text: `Only ${bytes(free)} are free.` };
  }
  return { what, isFine: true, text: 'There is room.' };
}

function algorithmsCheck(algorithms) {
  const what = 'Algorithms';
  const absent = algorithms.filter((one) => !one.available);
  if (algorithms.length === 0) {
    return { what, isFine: false, text: 'None can be ordered: no worker has announced one.' };
  }
  if (absent.length) {
    const reasons = absent.map((one) => `${one.name}: ${one.reason}`).join('; ');
    return { what, isFine: false, text: `Not available: ${reasons}` };
  }
  return { what, isFine: true, text: `${algorithms.length} can be ordered.` };
}
