// A tour of what programs ask of a system, without a library between: see test_languages.py.
// AssemblyScript.

// @ts-nocheck
@external("wasi_snapshot_preview1", "args_sizes_get")
declare function args_sizes_get(count: usize, size: usize): u32;
@external("wasi_snapshot_preview1", "args_get")
declare function args_get(pointers: usize, text: usize): u32;
@external("wasi_snapshot_preview1", "environ_sizes_get")
declare function environ_sizes_get(count: usize, size: usize): u32;
@external("wasi_snapshot_preview1", "environ_get")
declare function environ_get(pointers: usize, text: usize): u32;
@external("wasi_snapshot_preview1", "fd_read")
declare function fd_read(fd: i32, parts: usize, count: u32, done: usize): u32;
@external("wasi_snapshot_preview1", "fd_write")
declare function fd_write(fd: i32, parts: usize, count: u32, done: usize): u32;
@external("wasi_snapshot_preview1", "fd_close")
declare function fd_close(fd: i32): u32;
@external("wasi_snapshot_preview1", "fd_readdir")
declare function fd_readdir(fd: i32, at: usize, size: u32, cookie: u64, used: usize): u32;
@external("wasi_snapshot_preview1", "path_open")
declare function path_open(fd: i32, follow: u32, path: usize, size: u32, how: u32, rights: u64, inherited: u64, flags: u32, opened: usize): u32;
@external("wasi_snapshot_preview1", "path_create_directory")
declare function path_create_directory(fd: i32, path: usize, size: u32): u32;
@external("wasi_snapshot_preview1", "path_remove_directory")
declare function path_remove_directory(fd: i32, path: usize, size: u32): u32;
@external("wasi_snapshot_preview1", "path_unlink_file")
declare function path_unlink_file(fd: i32, path: usize, size: u32): u32;
@external("wasi_snapshot_preview1", "path_rename")
declare function path_rename(fd: i32, path: usize, size: u32, newFd: i32, newPath: usize, newSize: u32): u32;
@external("wasi_snapshot_preview1", "path_filestat_get")
declare function path_filestat_get(fd: i32, follow: u32, path: usize, size: u32, into: usize): u32;
@external("wasi_snapshot_preview1", "poll_oneoff")
declare function poll_oneoff(subscriptions: usize, events: usize, count: u32, done: usize): u32;
@external("wasi_snapshot_preview1", "clock_time_get")
declare function clock_time_get(clock: u32, precision: u64, at: usize): u32;
@external("wasi_snapshot_preview1", "random_get")
declare function random_get(at: usize, size: u32): u32;
@external("wasi_snapshot_preview1", "proc_exit")
declare function proc_exit(code: u32): void;

const TOUR: i32 = 3; // the directory that it is given
const CREATE: u32 = 1;
const READ: u64 = 2;
const WRITE: u64 = 64;
const READDIR: u64 = 1 << 14;
const results = memory.data(64, 8);
const parts = memory.data(8, 4);
const room = memory.data(4096, 8);

function check(errno: u32, what: string): void {
  if (errno) {
    print(2, what + ": " + errno.toString() + "\n");
    proc_exit(1);
  }
}

function print(fd: i32, text: string): void {
  const bytes = String.UTF8.encode(text);
  store<usize>(parts, changetype<usize>(bytes));
  store<u32>(parts + 4, bytes.byteLength);
  fd_write(fd, parts, 1, results);
}

function read(fd: i32): string {
  let text = "";
  store<usize>(parts, room);
  store<u32>(parts + 4, 4096);
  while (true) {
    check(fd_read(fd, parts, 1, results), "fd_read");
    const size = load<u32>(results);
    if (!size) return text;
    text += String.UTF8.decodeUnsafe(room, size);
  }
}

function open(path: string, how: u32, rights: u64): i32 {
  const bytes = String.UTF8.encode(path);
  const errno = path_open(TOUR, 1, changetype<usize>(bytes), bytes.byteLength, how, rights, 0, 0, results);
  return errno ? -(errno as i32) : load<i32>(results);
}

function texts(is_environment: bool): string[] {
  if (is_environment) environ_sizes_get(results, results + 4);
  else args_sizes_get(results, results + 4);
  const count = load<u32>(results);
  const pointers = heap.alloc(4 * count + 4);
  const text = heap.alloc(load<u32>(results + 4) + 1);
  if (is_environment) environ_get(pointers, text);
  else args_get(pointers, text);
  const found: string[] = [];
  for (let i: u32 = 0; i < count; i++) {
    found.push(String.UTF8.decodeUnsafe(load<usize>(pointers + 4 * i), 1 << 20, true));
  }
  return found;
}

function list(): string {
  const fd = open(".", 2, READDIR);
  check(fd_readdir(fd, room, 4096, 0, results), "fd_readdir");
  const names: string[] = [];
  for (let at: usize = room; at < room + load<u32>(results);) {
    const size = load<u32>(at + 16);
    const name = String.UTF8.decodeUnsafe(at + 24, size);
    if (!name.startsWith(".")) names.push(name);
    at += 24 + size;
  }
  fd_close(fd);
  names.sort();
  return names.length ? " " + names.join(" ") : "";
}

function changeFiles(): void {
  const sub = String.UTF8.encode("sub");
  const one = String.UTF8.encode("sub/one");
  const two = String.UTF8.encode("two");
  check(path_create_directory(TOUR, changetype<usize>(sub), sub.byteLength), "mkdir");
  const written = open("sub/one", CREATE, WRITE);
  print(written, "content");
  check(fd_close(written), "fd_close");
  check(
    path_rename(TOUR, changetype<usize>(one), one.byteLength, TOUR, changetype<usize>(two), two.byteLength),
    "rename",
  );
  check(path_filestat_get(TOUR, 1, changetype<usize>(two), two.byteLength, results), "stat");
  const size = load<u64>(results + 32);
  const file = open("two", 0, READ);
  print(1, "file: " + read(file) + ", " + size.toString() + " bytes\n");
  check(fd_close(file), "fd_close");
  print(1, "names:" + list() + "\n");
  check(path_unlink_file(TOUR, changetype<usize>(two), two.byteLength), "unlink");
  check(path_remove_directory(TOUR, changetype<usize>(sub), sub.byteLength), "rmdir");
  print(1, "then:" + list() + "\n");
  print(1, "elsewhere: " + (open("../etc/passwd", 0, READ) < 0 ? "nothing" : "there") + "\n");
}

function now(clock: u32): u64 {
  check(clock_time_get(clock, 1, results), "clock_time_get");
  return load<u64>(results);
}

function sleep(ns: u64): void {
  const subscription = memory.data(48, 8);
  store<u32>(subscription + 16, 1); // the monotonic clock
  store<u64>(subscription + 24, ns);
  check(poll_oneoff(subscription, room, 1, results), "poll_oneoff");
}

function chance(): u64 {
  check(random_get(results, 8), "random_get");
  return load<u64>(results);
}

export function _start(): void {
  print(1, "arguments:");
  const given = texts(false);
  for (let i = 1; i < given.length; i++) print(1, " <" + given[i] + ">");
  print(1, "\n");
  const variables = texts(true);
  for (let i = 0; i < variables.length; i++) {
    if (variables[i].startsWith("WHO=")) print(1, "environment: " + variables[i].slice(4) + "\n");
  }
  const lines = read(0).split("\n");
  for (let i = 0; i < lines.length - 1; i++) print(1, "input: " + lines[i] + "\n");
  print(2, "an error\n");

  changeFiles();

  const before = now(1);
  sleep(10_000_000);
  print(1, "slept: " + (now(1) - before >= 10_000_000 ? "yes" : "no") + "\n");
  print(1, "date: " + (now(0) > 1_700_000_000_000_000_000 ? "yes" : "no") + "\n");
  print(1, "chance: " + (chance() != chance() ? "yes" : "no") + "\n");
  proc_exit(7);
}
