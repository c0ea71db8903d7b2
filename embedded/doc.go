// Package embedded runs a real Triton Inference Server as a supervised child
// of this process, on a bare machine without Docker or a GPU.
//
// The binary is the tritonserver of the nvidia-pytriton wheel (server 2.51.0,
// container release 24.10), installed in a project-local Python environment.
// venv.sh creates that environment from hash-checked lists. The wheel has the
// Python backend and ensembles but no onnxruntime backend, so models name the
// backend "python" in their configs/embedded.pbtxt.
//
// `agiqa up` calls [Preflight] and [Start], passes [Server.GRPCAddr] to the
// Triton client, and calls [Server.Stop] last. No other package knows whether
// Triton is a child process or a cluster. The package speaks to the server only
// to ask whether it is ready.
//
// # Who may talk to it
//
// Whoever reaches an endpoint of this server can load a model, and a model is a
// program. So its only endpoint is a Unix socket in a folder of this user; HTTP
// and metrics are off. The server and its stubs run with umask 077, so that
// their shared memory, which holds the tensors of requests, is this user's too.
// The release is older than fixes of public faults; see docs/threat-model.md.
// It is for one machine, never for a network.
//
// # Processes
//
//	agiqa (supervisor) ──▶ tritonserver ──▶ Python backend stubs
//
// The supervisor restarts a server that died, on the same socket, with back-off
// and a limit. The server leads a session of its own, so a terminal's Ctrl-C
// doesn't reach it: agiqa finishes its requests first and then stops the server
// with SIGTERM, and with SIGKILL after a grace period. After every end of the
// server, the supervisor kills what the server started and removes its shared
// memory and its run folder.
//
// If agiqa itself is killed, the kernel sends SIGKILL to the server
// (PR_SET_PDEATHSIG). Triton's stubs notice that within seconds and exit. The
// next [Start] kills any process that is left and removes the files. It finds
// them by the run ID, which names the run folder, begins the names of the
// regions in /dev/shm, is in the environment of every process of the run, and
// contains the process ID and start time of the agiqa that owns the run.
//
// # Peculiarities of this server
//
//   - The server never restarts a stub that died. The model then answers every
//     request with an error, while health and readiness stay "ok". The
//     supervisor detects the dead child and restarts the server.
//   - Completing a model's configuration starts one more stub per model. It is
//     turned off (--disable-auto-complete-config), which makes loading four
//     times as fast. A configuration must therefore be complete, including
//     batch size, inputs and outputs.
//   - The stubs were built against NumPy 1 and misread NumPy 2; see
//     requirements.in. That limits Python to 3.10, 3.11 and 3.12.
//   - The stub isn't in the wheel's backends/python; the run folder has links
//     to both. It needs the interpreter's shared libpython and the wheel's own
//     libraries on LD_LIBRARY_PATH.
//   - The server starts a stub with a bash command in which no path is quoted,
//     and the stub decodes paths as ASCII whatever the locale and PYTHONUTF8
//     are. So the server gets every path as a link in the run folder, whose own
//     path is plain: in the data folder if possible, else in XDG_RUNTIME_DIR or
//     /tmp. Neither the server nor the stub resolves the links.
//   - A stub imports from its working directory first, so that is the run
//     folder.
//   - Models loaded at run time are lost in a restart. The client that loaded
//     them must load them again; see [Config].OnState.
//
// The package runs only on Linux x86-64 with glibc 2.35 or newer, listens on no
// network, and installs nothing.
package embedded
