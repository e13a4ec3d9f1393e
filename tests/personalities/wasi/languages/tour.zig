//! A tour of what programs ask of a system: see test_languages.py.
const std = @import("std");
const Io = std.Io;

fn list(out: *Io.Writer, io: Io, tour: Io.Dir, allocator: std.mem.Allocator) !void {
    var directory = try tour.openDir(io, ".", .{ .iterate = true });
    defer directory.close(io);
    var names: std.ArrayList([]const u8) = .empty;
    var entries = directory.iterate();
    while (try entries.next(io)) |entry| {
        try names.append(allocator, try allocator.dupe(u8, entry.name));
    }
    std.mem.sort([]const u8, names.items, {}, before);
    for (names.items) |name| try out.print(" {s}", .{name});
}

fn before(_: void, left: []const u8, right: []const u8) bool {
    return std.mem.lessThan(u8, left, right);
}

fn word(is: bool) []const u8 {
    return if (is) "yes" else "no";
}

fn chance(io: Io) u128 {
    var found: u128 = undefined;
    io.random(std.mem.asBytes(&found));
    return found;
}

pub fn main(init: std.process.Init) !u8 {
    const io = init.io;
    const allocator = init.arena.allocator();
    var buffer: [1024]u8 = undefined;
    var stdout = Io.File.stdout().writerStreaming(io, &buffer);
    const out = &stdout.interface;

    try out.print("arguments:", .{});
    const arguments = try init.minimal.args.toSlice(allocator);
    for (arguments[1..]) |argument| try out.print(" <{s}>", .{argument});
    try out.print("\nenvironment: {s}\n", .{init.environ_map.get("WHO").?});

    var input_buffer: [100]u8 = undefined;
    var stdin = Io.File.stdin().readerStreaming(io, &input_buffer);
    while (try stdin.interface.takeDelimiter('\n')) |line| try out.print("input: {s}\n", .{line});
    try Io.File.stderr().writeStreamingAll(io, "an error\n");

    const tour = init.preopens.get("/tour").?.dir;
    try tour.createDir(io, "sub", .default_dir);
    try tour.writeFile(io, .{ .sub_path = "sub/one", .data = "content" });
    try tour.rename("sub/one", tour, "two", io);
    const found = try tour.statFile(io, "two", .{});
    const text = try tour.readFileAlloc(io, "two", allocator, .limited(100));
    try out.print("file: {s}, {d} bytes\nnames:", .{ text, found.size });
    try list(out, io, tour, allocator);
    try tour.deleteFile(io, "two");
    try tour.deleteDir(io, "sub");
    try out.print("\nthen:", .{});
    try list(out, io, tour, allocator);
    const is_there = if (tour.openFile(io, "../etc/passwd", .{})) |_| true else |_| false;
    try out.print("\nelsewhere: {s}\n", .{if (is_there) "there" else "nothing"});

    const start = Io.Timestamp.now(io, .awake);
    try io.sleep(.fromMilliseconds(10), .awake);
    const passed = start.durationTo(Io.Timestamp.now(io, .awake));
    try out.print("slept: {s}\n", .{word(passed.toMilliseconds() >= 10)});
    const date = Io.Timestamp.now(io, .real).nanoseconds;
    try out.print("date: {s}\n", .{word(date > 1_700_000_000 * std.time.ns_per_s)});
    try out.print("chance: {s}\n", .{word(chance(io) != chance(io))});
    try out.flush();
    return 7;
}
