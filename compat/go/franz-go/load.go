package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const inFlightRecords = 500

// load does what ../../python/crash_load.py does, with franz-go, idempotent: the same arguments but
// the first, the same journal, the same signals.
func load(arguments []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	partitions := flags.Int64("partitions", 0, "")
	first := flags.Int64("first", 0, "number of the first record")
	rate := flags.Float64("rate", 0, "records a second")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() != 3 || *partitions < 1 || *rate <= 0 {
		return errors.New("wanted: load --partitions N --first N --rate N BOOTSTRAP TOPIC JOURNAL")
	}
	bootstrap, topic := flags.Arg(0), flags.Arg(1)
	file, err := os.OpenFile(flags.Arg(2), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()),
		kgo.ProducerLinger(5*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
		kgo.UnknownTopicRetries(-1),
	)
	if err != nil {
		return err
	}
	go endWithParent()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)

	lines := make(chan string, 2*inFlightRecords)
	written := make(chan error, 1)
	go func() { written <- writeJournal(file, lines) }()
	next, stopped := send(client, topic, *partitions, *first, *rate, signals, lines)
	if stopped == syscall.SIGTERM {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := client.Flush(ctx); err != nil {
			return err
		}
	}
	lines <- fmt.Sprintf("S %d\n", next-1)
	lines <- ""
	return <-written
}

// send returns the first number that it did not send, and the signal that stopped it.
func send(
	client *kgo.Client, topic string, partitions, first int64, rate float64,
	signals <-chan os.Signal, lines chan<- string,
) (int64, os.Signal) {
	var waiting atomic.Int64
	number, start := first, time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		due := first + int64(time.Since(start).Seconds()*rate)
		for number < due && waiting.Load() < inFlightRecords {
			sent, record := number, &kgo.Record{
				Topic: topic, Partition: int32(number % partitions),
				Key: fmt.Appendf(nil, "k%d", number), Value: payload(number),
			}
			waiting.Add(1)
			client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
				waiting.Add(-1)
				if err != nil {
					lines <- fmt.Sprintf("E %d %v\n", sent, err)
					return
				}
				lines <- fmt.Sprintf("A %d %d %d\n", r.Partition, r.Offset, sent)
			})
			number++
		}
		if waiting.Load() >= inFlightRecords {
			// What could not be sent in time is not made up for in one burst.
			first, start = number, time.Now()
		}
		select {
		case which := <-signals:
			return number, which
		case <-tick.C:
		}
	}
}

// writeJournal writes lines until an empty one comes; each is in the file before it waits.
func writeJournal(file io.Writer, lines <-chan string) error {
	out := bufio.NewWriter(file)
	for line := range lines {
		if line == "" {
			return out.Flush()
		}
		if _, err := out.WriteString(line); err != nil {
			return err
		}
		if len(lines) == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	return out.Flush()
}

func endWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(1)
}

// payload is the value of record `number`: the same as ../../python/payload.py makes.
func payload(number int64) []byte {
	length := int(100 + number*7919%400)
	if number%97 == 0 {
		length = 20_000
	}
	head := fmt.Appendf(nil, "%012d ", number)
	pattern := fmt.Appendf(nil, "%08x", crc32.ChecksumIEEE(head))
	return append(head, bytes.Repeat(pattern, length/len(pattern)+1)...)[:length]
}
