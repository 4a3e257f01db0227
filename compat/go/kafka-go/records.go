package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"millstream/compat/commands"
)

var codecs = map[string]kafka.Compression{
	"gzip":   kafka.Gzip,
	"snappy": kafka.Snappy,
	"lz4":    kafka.Lz4,
	"zstd":   kafka.Zstd,
}

var acks = map[string]kafka.RequiredAcks{
	"":    kafka.RequireAll,
	"all": kafka.RequireAll,
	"1":   kafka.RequireOne,
	"0":   kafka.RequireNone,
}

// sent goes along with a message: which record of the command it is, and where it shall go.
type sent struct {
	index     int
	partition *int32
}

func (a *agent) produce(ctx context.Context, command *commands.Command) (commands.Answer, error) {
	linger, largest := 20, int64(1_000_000)
	if command.LingerMs != nil {
		linger = *command.LingerMs
	}
	if command.MaxRequest != 0 {
		largest = int64(command.MaxRequest)
	}
	var mutex sync.Mutex
	offsets := make([][2]int64, len(command.Records))
	writer := &kafka.Writer{
		Addr:                   a.address,
		Topic:                  command.Topic,
		Balancer:               kafka.BalancerFunc(chosen(&kafka.Hash{})),
		BatchSize:              10_000,
		BatchBytes:             largest,
		BatchTimeout:           time.Duration(max(linger, 1)) * time.Millisecond,
		RequiredAcks:           acks[command.Acks],
		Compression:            codecs[command.Codec],
		Transport:              a.transport,
		AllowAutoTopicCreation: true,
		Completion: func(messages []kafka.Message, err error) {
			mutex.Lock()
			defer mutex.Unlock()
			for _, each := range messages {
				at := [2]int64{int64(each.Partition), each.Offset}
				offsets[each.WriterData.(sent).index] = at
			}
		},
	}
	messages := make([]kafka.Message, 0, len(command.Records))
	for index, each := range command.Records {
		made := kafka.Message{
			Key: each.Key, Value: each.Value, WriterData: sent{index, each.Partition},
		}
		if each.Time != nil {
			made.Time = time.UnixMilli(*each.Time)
		}
		for _, header := range each.Headers {
			made.Headers = append(made.Headers, kafka.Header{Key: header.Name, Value: header.Value})
		}
		messages = append(messages, made)
	}
	err := writer.WriteMessages(ctx, messages...)
	// The first answer about a topic that is being made; trying again is left to who writes.
	for errors.Is(err, kafka.UnknownTopicOrPartition) && ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
		err = writer.WriteMessages(ctx, messages...)
	}
	if closed := writer.Close(); err == nil {
		err = closed
	}
	return commands.Answer{"offsets": offsets}, err
}

// chosen obeys a record's partition, and asks the hash for a record without one.
func chosen(otherwise kafka.Balancer) func(kafka.Message, ...int) int {
	return func(m kafka.Message, partitions ...int) int {
		if told := m.WriterData.(sent).partition; told != nil {
			return int(*told)
		}
		return otherwise.Balance(m, partitions...)
	}
}

func (a *agent) reader(topic string, partition int, wait time.Duration) *kafka.Reader {
	return kafka.NewReader(kafka.ReaderConfig{
		Brokers:   []string{a.bootstrap},
		Topic:     topic,
		Partition: partition,
		MinBytes:  1,
		MaxBytes:  10_000_000,
		MaxWait:   wait,
	})
}

func (a *agent) consume(command *commands.Command) (commands.Answer, error) {
	ctx, cancel := context.WithTimeout(
		context.Background(), time.Duration(command.TimeoutMs)*time.Millisecond)
	defer cancel()
	taken := make(chan kafka.Message)
	failed := make(chan error, len(command.Starts))
	for _, start := range command.Starts {
		reader := a.reader(command.Topic, int(start[0]), 200*time.Millisecond)
		defer reader.Close()
		if err := reader.SetOffset(start[1]); err != nil {
			return nil, err
		}
		go func() { failed <- forward(ctx, reader, taken) }()
	}
	records := []commands.Record{}
	for len(records) < command.Count {
		select {
		case m := <-taken:
			records = append(records, record(m))
		case err := <-failed:
			if !errors.Is(err, context.DeadlineExceeded) {
				return nil, err
			}
		case <-ctx.Done():
			return commands.Answer{"records": records}, nil
		}
	}
	return commands.Answer{"records": records}, nil
}

func forward(ctx context.Context, from *kafka.Reader, taken chan<- kafka.Message) error {
	for {
		message, err := from.ReadMessage(ctx)
		if err != nil {
			return err
		}
		select {
		case taken <- message:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func record(m kafka.Message) commands.Record {
	at, partition := m.Time.UnixMilli(), int32(m.Partition)
	headers := make([]commands.Header, 0, len(m.Headers))
	for _, header := range m.Headers {
		headers = append(headers, commands.Header{Name: header.Key, Value: header.Value})
	}
	return commands.Record{
		Topic: m.Topic, Partition: &partition, Offset: m.Offset, Time: &at,
		Key: m.Key, Value: m.Value, Headers: headers,
	}
}
