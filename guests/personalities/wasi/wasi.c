/* WASI: turns its functions into messages. Compiled once for `wasi_snapshot_preview1` and, with
 * UNSTABLE, once for the older `wasi_unstable`.
 *
 * The functions stand in the file of what they are about; each exports itself under its name. To
 * begin with: program.h and services.h are how both sides are reached, descriptors.h is what there
 * is, layout.h and errno.h are the numbers. */
#define WASMOS_NO_MAIN
#include "wasmos.h"

#include "errno.h"
#include "program.h"

#include "services.h"

#include "layout.h"

#include "descriptors.h"

#include "streams.h"

#include "files.h"

#include "paths.h"

#include "poll.h"
#include "process.h"
#include "sockets.h"
