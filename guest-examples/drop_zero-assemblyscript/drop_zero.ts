// A transformer in AssemblyScript that drops samples with the volume 0. It implements the canonical
// ABI by hand: parameters are flattened, results are written to memory and returned by address.

// The host allocates here what it passes; the component frees it.
export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  return old ? heap.realloc(old, size) : heap.alloc(size);
}

// The result of a call, until the next one. A description is the largest, with 44 bytes.
const result: usize = memory.data(44, 8);

function setText(at: usize, value: string): void {
  const bytes = String.UTF8.encode(value);
  const content = heap.alloc(bytes.byteLength);
  memory.copy(content, changetype<usize>(bytes), bytes.byteLength);
  store<usize>(result + at, content);
  store<i32>(result + at + 4, bytes.byteLength);
}

export function describe(): usize {
  memory.fill(result, 0, 44);
  setText(0, "drop_zero");
  setText(8, "0.1.0");
  setText(16, "drops samples with the volume 0");
  return result; // No schema of options, state version 0, no facts.
}

export function configure(options: usize, length: i32): usize {
  heap.free(options);
  memory.fill(result, 0, 44);
  return result; // ok: all meters, no metadata, no texts, no facts.
}

// It needs no names, and frees what it got: four lists, and the texts of the entries.
export function learn(
  forgottenMeters: usize, a: i32, forgottenResources: usize, b: i32,
  meters: usize, meterCount: i32, resources: usize, resourceCount: i32,
): void {
  for (let index = 0; index < meterCount; index++) {
    const meter = meters + index * 24;
    heap.free(load<usize>(meter, 4));
    heap.free(load<usize>(meter, 12));
  }
  for (let index = 0; index < resourceCount; index++) {
    const resource = resources + index * 52;
    heap.free(load<usize>(resource, 4));
    heap.free(load<usize>(resource, 12));
    if (load<u8>(resource, 20)) heap.free(load<usize>(resource, 24));
    if (load<u8>(resource, 32)) heap.free(load<usize>(resource, 36));
    heap.free(load<usize>(resource, 44));
  }
  heap.free(forgottenMeters);
  heap.free(forgottenResources);
  heap.free(meters);
  heap.free(resources);
}

// A batch: seven lists, each as address and length.
export function transform(
  meter: usize, a: i32, resource: usize, b: i32, time: usize, c: i32, monotonic: usize, d: i32,
  volume: usize, rows: i32, exact: usize, e: i32, removed: usize, removedCount: i32,
): usize {
  const kept = heap.alloc(rows * 4);
  let count = 0;
  for (let row = 0; row < rows; row++) {
    if (load<f64>(volume + row * 8) != 0) store<i32>(kept + 4 * count++, row);
  }
  for (let index = 0; index < removedCount; index++) heap.free(load<usize>(removed + index * 8));
  heap.free(meter);
  heap.free(resource);
  heap.free(time);
  heap.free(monotonic);
  heap.free(volume);
  heap.free(exact);
  heap.free(removed);
  // result<outcome, refusal>, at multiples of 4: ok (0), keep (1), address and length.
  memory.fill(result, 0, 44);
  store<i32>(result, 1, 4);
  store<usize>(result, kept, 8);
  store<i32>(result, count, 12);
  return result;
}

// The host calls this once it has read the result.
export function transformed(answer: usize): void {
  heap.free(load<usize>(answer, 8));
}
