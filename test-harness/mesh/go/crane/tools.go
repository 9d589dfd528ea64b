//go:build tools

// Package tools names the programs that are built here, so that go.mod and go.sum have what they need.
package tools

import (
	_ "github.com/google/go-containerregistry/cmd/crane"
)
