// Package netns creates the network of a node in a network namespace, and runs code inside of it.
package netns
