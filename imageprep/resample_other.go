//go:build !amd64

package imageprep

// implementations returns those that this processor can run, the fastest first.
func implementations() []implementation { return []implementation{portable} }
