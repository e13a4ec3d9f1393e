// A tour of what programs ask of a system: see test_languages.py.
package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"sync"
	"time"
)

func list() {
	entries, err := os.ReadDir("/tour") // in order
	must(err)
	for _, entry := range entries {
		fmt.Print(" ", entry.Name())
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func chance() []byte {
	found := make([]byte, 16)
	_, err := rand.Read(found)
	must(err)
	return found
}

func word(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// slept tells whether several goroutines that sleep at the same time do so.
func slept() bool {
	const count = 20
	before := time.Now()
	var all sync.WaitGroup
	for range count {
		all.Add(1)
		go func() {
			defer all.Done()
			time.Sleep(10 * time.Millisecond)
		}()
	}
	all.Wait()
	return time.Since(before) >= 10*time.Millisecond
}

func main() {
	fmt.Print("arguments:")
	for _, argument := range os.Args[1:] {
		fmt.Printf(" <%s>", argument)
	}
	fmt.Printf("\nenvironment: %s\n", os.Getenv("WHO"))

	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Printf("input: %s\n", lines.Text())
	}
	fmt.Fprintln(os.Stderr, "an error")

	must(os.Mkdir("/tour/sub", 0o777))
	must(os.WriteFile("/tour/sub/one", []byte("content"), 0o666))
	must(os.Rename("/tour/sub/one", "/tour/two"))
	found, err := os.Stat("/tour/two")
	must(err)
	text, err := os.ReadFile("/tour/two")
	must(err)
	fmt.Printf("file: %s, %d bytes\nnames:", text, found.Size())
	list()
	must(os.Remove("/tour/two"))
	must(os.Remove("/tour/sub"))
	fmt.Print("\nthen:")
	list()
	_, err = os.Open("/etc/passwd")
	fmt.Printf("\nelsewhere: %s\n", map[bool]string{true: "there", false: "nothing"}[err == nil])

	fmt.Printf("slept: %s\n", word(slept()))
	fmt.Printf("date: %s\n", word(time.Now().Unix() > 1_700_000_000))
	fmt.Printf("chance: %s\n", word(!bytes.Equal(chance(), chance())))
	os.Exit(7)
}
