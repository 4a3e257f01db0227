// Package commands reads one JSON command a line from standard input and answers each with one
// JSON line, as ../../README.md describes. What a command does is the agent's.
package commands

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
)

// Command has the fields of all commands; each command reads those it names.
type Command struct {
	Do            string             `json:"do"`
	Topic         string             `json:"topic"`
	Topics        []string           `json:"topics"`
	Partition     int32              `json:"partition"`
	Partitions    int32              `json:"partitions"`
	Records       []Record           `json:"records"`
	Codec         string             `json:"codec"`
	Acks          string             `json:"acks"`
	Idempotent    bool               `json:"idempotent"`
	MaxRequest    int32              `json:"max_request"`
	LingerMs      *int               `json:"linger_ms"`
	Starts        [][2]int64         `json:"starts"`
	Count         int                `json:"count"`
	TimeoutMs     int                `json:"timeout_ms"`
	T             int64              `json:"t"`
	Before        int64              `json:"before"`
	Group         string             `json:"group"`
	SessionMs     int                `json:"session_ms"`
	Instance      *string            `json:"instance"`
	Assignor      string             `json:"assignor"`
	Reset         string             `json:"reset"`
	FetchMs       int                `json:"fetch_wait_ms"`
	Ms            int                `json:"ms"`
	Offsets       []Commit           `json:"offsets"`
	Configs       map[string]*string `json:"configs"`
	Name          string             `json:"name"`
	Value         string             `json:"value"`
	Transactional string             `json:"transactional_id"`
}

// Record is one record as it travels to and from the driver; bytes are base64 by encoding/json,
// and null stays null.
type Record struct {
	Topic     string   `json:"topic,omitempty"`
	Partition *int32   `json:"p"`
	Offset    int64    `json:"o"`
	Time      *int64   `json:"t"`
	Key       []byte   `json:"k"`
	Value     []byte   `json:"v"`
	Headers   []Header `json:"h"`
}

// Header travels as [name, value].
type Header struct {
	Name  string
	Value []byte
}

func (h Header) MarshalJSON() ([]byte, error) { return json.Marshal([2]any{h.Name, h.Value}) }

func (h *Header) UnmarshalJSON(text []byte) error {
	var pair [2]*string
	if err := json.Unmarshal(text, &pair); err != nil {
		return err
	}
	if pair[0] == nil {
		return fmt.Errorf("a header has a name: %s", text)
	}
	h.Name, h.Value = *pair[0], nil
	if pair[1] == nil {
		return nil
	}
	value, err := base64.StdEncoding.DecodeString(*pair[1])
	h.Value = value
	return err
}

// Commit travels as [topic, partition, offset, metadata].
type Commit struct {
	Topic     string
	Partition int32
	Offset    int64
	Metadata  string
}

func (c *Commit) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&c.Topic, &c.Partition, &c.Offset, &c.Metadata})
}

// Answer has the fields of an answer but `ok`.
type Answer map[string]any

// Agent carries out commands. The code of an error is that of Kafka's protocol, nil for another.
type Agent interface {
	CarryOut(command *Command) (Answer, error)
	Code(err error) any
}

// Main serves the agent for the address that the program was given, and exits.
func Main(made func(bootstrap string) Agent) {
	if len(os.Args) != 2 {
		fmt.Fprintf(os.Stderr, "usage: %s HOST:PORT\n", os.Args[0])
		os.Exit(2)
	}
	if err := serve(made(os.Args[1])); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func serve(agent Agent) error {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return nil // The driver has closed the pipe: it needs the agent no more.
		}
		var command Command
		if err := json.Unmarshal(line, &command); err != nil {
			return err
		}
		reply, err := agent.CarryOut(&command)
		if err != nil {
			reply = Answer{"ok": false, "code": agent.Code(err), "error": err.Error()}
		} else {
			if reply == nil {
				reply = Answer{}
			}
			reply["ok"] = true
		}
		if err := out.Encode(reply); err != nil {
			return err
		}
		if command.Do == "quit" {
			return nil
		}
	}
}

// Version tells which version of a module this program was built with.
func Version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "of unknown version"
	}
	for _, each := range info.Deps {
		if each.Path == module {
			return each.Version
		}
	}
	return "of unknown version"
}
