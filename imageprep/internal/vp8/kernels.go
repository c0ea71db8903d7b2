package vp8

//go:generate go run -modfile=../../../tools/gotools.mod kernels_gen.go -out kernels_amd64.s -stubs kernels_amd64.go -pkg vp8
