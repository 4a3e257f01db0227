package main

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millstream/compat/commands"
)

var codecs = map[string]kgo.CompressionCodec{
	"":       kgo.NoCompression(),
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

var acks = map[string]kgo.Acks{
	"":    kgo.AllISRAcks(),
	"all": kgo.AllISRAcks(),
	"1":   kgo.LeaderAck(),
	"0":   kgo.NoAck(),
}

func (a *agent) produce(ctx context.Context, command *commands.Command) (commands.Answer, error) {
	linger := 20 * time.Millisecond
	if command.LingerMs != nil {
		linger = time.Duration(*command.LingerMs) * time.Millisecond
	}
	options := []kgo.Opt{
		kgo.ProducerBatchCompression(codecs[command.Codec]),
		kgo.RequiredAcks(acks[command.Acks]),
		kgo.ProducerLinger(linger),
		kgo.RecordPartitioner(chosenPartitioner{kgo.StickyKeyPartitioner(nil)}),
		kgo.UnknownTopicRetries(50),
		kgo.AllowAutoTopicCreation(),
	}
	if command.MaxRequest != 0 {
		options = append(options, kgo.ProducerBatchMaxBytes(command.MaxRequest))
	}
	if !command.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	client, err := a.client(options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()

	sent := make([]*kgo.Record, 0, len(command.Records))
	for _, each := range command.Records {
		sent = append(sent, made(command.Topic, &each))
	}
	if err := client.ProduceSync(ctx, sent...).FirstErr(); err != nil {
		return nil, err
	}
	offsets := make([][2]int64, 0, len(sent))
	for _, each := range sent {
		offsets = append(offsets, [2]int64{int64(each.Partition), each.Offset})
	}
	return commands.Answer{"offsets": offsets}, nil
}

func made(topic string, r *commands.Record) *kgo.Record {
	made := &kgo.Record{Topic: topic, Key: r.Key, Value: r.Value, Partition: -1}
	if r.Partition != nil {
		made.Partition = *r.Partition
	}
	if r.Time != nil {
		made.Timestamp = time.UnixMilli(*r.Time)
	}
	for _, header := range r.Headers {
		made.Headers = append(made.Headers, kgo.RecordHeader{Key: header.Name, Value: header.Value})
	}
	return made
}

// chosenPartitioner obeys a record's partition, and asks `otherwise` for a record without one.
type chosenPartitioner struct{ otherwise kgo.Partitioner }

func (p chosenPartitioner) ForTopic(topic string) kgo.TopicPartitioner {
	return chosenTopicPartitioner{p.otherwise.ForTopic(topic)}
}

type chosenTopicPartitioner struct{ otherwise kgo.TopicPartitioner }

func (p chosenTopicPartitioner) RequiresConsistency(*kgo.Record) bool { return true }

func (p chosenTopicPartitioner) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return p.otherwise.Partition(r, n)
}

func (a *agent) consume(command *commands.Command) (commands.Answer, error) {
	starts := make(map[int32]kgo.Offset)
	for _, start := range command.Starts {
		starts[int32(start[0])] = kgo.NewOffset().At(start[1])
	}
	client, err := a.client(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{command.Topic: starts}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(500*time.Millisecond),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(
		context.Background(), time.Duration(command.TimeoutMs)*time.Millisecond)
	defer cancel()
	records := []commands.Record{}
	for len(records) < command.Count && ctx.Err() == nil {
		taken, err := take(client.PollRecords(ctx, command.Count-len(records)))
		if err != nil {
			return nil, err
		}
		records = append(records, taken...)
	}
	return commands.Answer{"records": records}, nil
}

func take(fetches kgo.Fetches) ([]commands.Record, error) {
	for _, failed := range fetches.Errors() {
		if failed.Err != context.DeadlineExceeded {
			return nil, failed.Err
		}
	}
	taken := make([]commands.Record, 0, fetches.NumRecords())
	fetches.EachRecord(func(r *kgo.Record) {
		at, partition := r.Timestamp.UnixMilli(), r.Partition
		headers := make([]commands.Header, 0, len(r.Headers))
		for _, header := range r.Headers {
			headers = append(headers, commands.Header{Name: header.Key, Value: header.Value})
		}
		taken = append(taken, commands.Record{
			Topic: r.Topic, Partition: &partition, Offset: r.Offset, Time: &at,
			Key: r.Key, Value: r.Value, Headers: headers,
		})
	})
	return taken, nil
}
