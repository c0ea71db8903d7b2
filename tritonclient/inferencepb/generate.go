package inferencepb

//go:generate ./generate.sh
