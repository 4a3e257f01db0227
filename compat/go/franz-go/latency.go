package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// latency sends records on a fixed schedule, whatever the answers do, and reads them back in the
// same process. A record's latency counts from when it was due, so a stall is charged to every
// record it delayed. It prints p50, p99, p99.9 and the largest, in milliseconds.
func latency(arguments []string) error {
	flags := flag.NewFlagSet("latency", flag.ContinueOnError)
	bootstrap := flags.String("bootstrap", "127.0.0.1:9092", "broker")
	topic := flags.String("topic", "latency", "topic with one partition, made if missing")
	rate := flags.Int("rate", 1000, "records a second")
	size := flags.Int("size", 1024, "bytes of a record, at least 8")
	warmup := flags.Duration("warmup", 5*time.Second, "time before the first that counts")
	length := flags.Duration("length", 20*time.Second, "time that counts")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if *rate < 1 || *size < 8 {
		return fmt.Errorf("--rate must be at least 1 and --size at least 8")
	}
	ctx, cancel := context.WithTimeout(context.Background(), *warmup+*length+time.Minute)
	defer cancel()

	producer, err := kgo.NewClient(
		kgo.SeedBrokers(*bootstrap), kgo.ProducerLinger(0), kgo.DefaultProduceTopic(*topic),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.AllowAutoTopicCreation())
	if err != nil {
		return err
	}
	defer producer.Close()
	if _, err := kadm.NewClient(producer).CreateTopic(ctx, 1, 1, nil, *topic); err != nil &&
		!errors.Is(err, kerr.TopicAlreadyExists) {
		return err
	}
	listed, err := kadm.NewClient(producer).ListEndOffsets(ctx, *topic)
	if err != nil {
		return err
	}
	end, ok := listed.Lookup(*topic, 0)
	if !ok || end.Err != nil {
		return fmt.Errorf("no end offset of %s: %w", *topic, end.Err)
	}
	consumer, err := kgo.NewClient(
		kgo.SeedBrokers(*bootstrap),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
			*topic: {0: kgo.NewOffset().At(end.Offset)},
		}))
	if err != nil {
		return err
	}
	defer consumer.Close()

	run := schedule{
		total:    int((*warmup + *length).Seconds() * float64(*rate)),
		skipped:  int(warmup.Seconds() * float64(*rate)),
		interval: time.Second / time.Duration(*rate),
		size:     *size,
	}
	failed := make(chan error, run.total+1)
	go func() { failed <- run.send(ctx, producer, failed) }()
	taken, err := run.receive(ctx, consumer, failed)
	if err != nil {
		return err
	}
	slices.Sort(taken)
	at := func(quantile float64) float64 {
		return float64(taken[min(int(quantile*float64(len(taken))), len(taken)-1)].Microseconds()) / 1000
	}
	fmt.Printf("records=%d p50_ms=%.3f p99_ms=%.3f p99.9_ms=%.3f max_ms=%.3f\n",
		len(taken), at(0.5), at(0.99), at(0.999), at(1))
	return nil
}

type schedule struct {
	total, skipped, size int
	interval             time.Duration
}

func (s schedule) send(ctx context.Context, producer *kgo.Client, failed chan<- error) error {
	start := time.Now()
	for i := range s.total {
		due := start.Add(time.Duration(i) * s.interval)
		time.Sleep(time.Until(due))
		value := make([]byte, s.size)
		binary.LittleEndian.PutUint64(value, uint64(due.UnixNano()))
		producer.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed <- err
			}
		})
	}
	return nil
}

func (s schedule) receive(
	ctx context.Context, consumer *kgo.Client, failed <-chan error,
) ([]time.Duration, error) {
	taken := make([]time.Duration, 0, s.total)
	for len(taken) < s.total {
		select {
		case err := <-failed:
			if err != nil {
				return nil, err
			}
		default:
		}
		fetches := consumer.PollFetches(ctx)
		now := time.Now()
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("after %d of %d records: %w", len(taken), s.total, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			due := time.Unix(0, int64(binary.LittleEndian.Uint64(r.Value)))
			taken = append(taken, now.Sub(due))
		})
	}
	return taken[s.skipped:], nil
}
