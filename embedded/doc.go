// Package embedded runs a real Triton Inference Server as a supervised child
// of this process, on a bare machine without Docker or a GPU.
//
// The binary is the tritonserver of the nvidia-pytriton wheel (server 2.51.0,
// the container release 24.10), which a project-local Python environment
// holds; venv.sh makes that environment from hash-checked lists. The wheel has
// the Python backend and ensembles, and no onnxruntime backend: models name
// backend "python" in their configs/embedded.pbtxt.
//
// # In the flow
//
// `agiqa up` calls [Preflight] and [Start], gives [Server.GRPCAddr] to the
// Triton client, and [Server.Stop]s it last. Nothing else in the house knows
// whether Triton is a child or a cluster. Of the project the package imports
// internal/shell alone, and it speaks to the server only to ask whether it is ready.
//
// # Who watches whom
//
//	agiqa ──pipe──▶ keeper ──▶ tritonserver ──▶ Python backend stubs
//	  │               own session    own process group
//	  └── supervisor: restarts, same ports, back-off, limit
//
// The keeper is this same binary started again ([KeeperMain]). It lives as
// long as one tritonserver does and has one promise to keep: whatever happens
// to agiqa, kill -9 included, no process and no shared memory stays behind. It
// learns of agiqa's end by the end of file on its standard input, stops the
// server (SIGTERM, grace, SIGKILL for the whole group), collects every process
// below it, since it is their subreaper, and removes the regions in /dev/shm
// and the run folder. Should the keeper itself be killed, the kernel sends
// SIGTERM to tritonserver (PR_SET_PDEATHSIG), the supervisor kills the group,
// and what is left over is removed by the next [Start].
//
// The session of its own keeps a terminal's Ctrl-C away from Triton, so that
// agiqa can finish its requests before it stops the server.
//
// # Surprises in this server
//
//   - A stub that died is never restarted, its model answers every request with
//     an error, and health and readiness stay "ok". The keeper sees the dead
//     child and ends the server, so that the supervisor starts a whole one.
//   - Completing a model's configuration starts one more stub for each model.
//     It is switched off (--disable-auto-complete-config): loading takes a
//     quarter of the time, and a configuration must be complete, batch size,
//     inputs and outputs included.
//   - The stubs were built against NumPy 1 and misread NumPy 2; see
//     requirements.in. That limits Python to 3.10, 3.11 and 3.12.
//   - The stub is not inside the wheel's backends/python; the run folder has
//     links to both. It needs the libpython of the interpreter as a shared
//     library, and the wheel's own libraries, on LD_LIBRARY_PATH.
//   - A stub is started by a line for bash in which no path is quoted, and it
//     reads paths as ASCII whatever the locale and PYTHONUTF8 say. So the
//     server sees every path through links in the run folder, whose own path
//     is plain: in the data folder if that will do, else in XDG_RUNTIME_DIR or
//     /tmp. Neither resolves the links.
//   - A stub imports from its working directory first, so that is the run
//     folder.
//   - Models loaded at run time do not survive a restart. Whoever loaded them
//     listens to [Config].OnState and loads them again.
//
// The package refuses to run anywhere but on Linux x86-64 with glibc 2.35 or
// newer, to listen on anything but 127.0.0.1, and to install anything.
package embedded
