//go:build tools

// Package tools names the programs that are built here: none, files are all that is taken from the module.
package tools
