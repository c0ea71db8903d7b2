// Package server is the composition root: it wires the packages of the project
// into one service and runs it.
//
//	s, err := server.New(ctx, server.Config{Settings: settings, Logger: logger})
//	if err != nil { ... }
//	err = s.Run(ctx, nil) // until ctx ends: drains, answers what it accepted, closes
//
// A [Server] owns the listener, the gateway and everything behind it, and an
// embedded Triton where [Config.Embedded] asks for one. [Server.While] runs it
// for as long as a function takes, which is what tests and commands of one
// request want; with the setting listen at port 0 any number can run at once.
//
// It holds no rule about images, checkpoints, scores or experiments: those are
// in scoring, checkpoint/lifecycle and experiment/engine. It reads no flags and
// prints nothing: that's cmd/agiqa. Everything may be imported here, and only
// commands import it.
package server
