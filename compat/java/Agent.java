import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/**
 * The agent for Apache Kafka's Java client: answers the commands of ../README.md.
 * Takes the bootstrap address.
 */
public final class Agent {
    private static final int REQUEST_SECONDS = 20;
    private static final Map<String, Class<?>> ASSIGNORS = Map.of(
            "range", RangeAssignor.class, "cooperative", CooperativeStickyAssignor.class);

    private final ObjectMapper json = new ObjectMapper();
    private final String bootstrap;
    private Admin admin;
    private KafkaConsumer<byte[], byte[]> member;
    private ArrayNode events = json.createArrayNode();

    private Agent(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    public static void main(String[] arguments) throws Exception {
        Agent agent = new Agent(arguments[0]);
        BufferedReader in = new BufferedReader(
                new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            JsonNode command = agent.json.readTree(line);
            out.println(agent.answered(command));
            out.flush();
            if (command.get("do").asText().equals("quit")) {
                break;
            }
        }
        // Consumers left open are not closed: an agent whose input ends has been abandoned.
        Runtime.getRuntime().halt(0);
    }

    private ObjectNode answered(JsonNode command) {
        ObjectNode answer = json.createObjectNode();
        try {
            carryOut(command, answer);
            answer.put("ok", true);
        } catch (Exception thrown) {
            Throwable cause = thrown instanceof ExecutionException ? thrown.getCause() : thrown;
            answer.removeAll();
            answer.put("ok", false);
            answer.put("code", Errors.forException(cause).code());
            answer.put("error", cause.toString());
        }
        return answer;
    }

    private void carryOut(JsonNode command, ObjectNode answer) throws Exception {
        switch (command.get("do").asText()) {
            case "version" -> answer.put("version", "kafka-clients " + AppInfoParser.getVersion());
            case "produce" -> produce(command, answer);
            case "consume" -> consume(command, answer);
            case "offsets" -> offsets(command, answer);
            case "offset_for_time" -> offsetForTime(command, answer);
            case "subscribe" -> subscribe(command);
            case "poll" -> poll(command, answer);
            case "commit" -> commit(command);
            case "committed" -> committed(command, answer);
            case "init_transactions" -> initTransactions(command);
            case "close" -> close();
            case "create_topic" -> createTopic(command);
            case "delete_topic" -> result(admin().deleteTopics(List.of(text(command, "topic"))).all());
            case "add_partitions" -> addPartitions(command);
            case "delete_records" -> deleteRecords(command);
            case "topics" -> topics(answer);
            case "groups" -> groups(answer);
            case "describe_group" -> describeGroup(command, answer);
            case "delete_group" ->
                    result(admin().deleteConsumerGroups(List.of(text(command, "group"))).all());
            case "topic_config" -> topicConfig(command, answer);
            case "set_topic_config" -> setTopicConfig(command);
            case "cluster" -> cluster(answer);
            case "quit" -> quit();
            default -> throw new IllegalArgumentException("unknown command " + command);
        }
    }

    private void produce(JsonNode command, ObjectNode answer) throws Exception {
        Properties settings = common();
        settings.put("key.serializer", ByteArraySerializer.class);
        settings.put("value.serializer", ByteArraySerializer.class);
        settings.put("compression.type", text(command, "codec", "none"));
        settings.put("acks", text(command, "acks", "all"));
        settings.put("enable.idempotence", command.path("idempotent").asBoolean(false));
        settings.put("max.request.size", command.path("max_request").asInt(1_048_576));
        settings.put("linger.ms", command.path("linger_ms").asInt(20));
        settings.put("request.timeout.ms", REQUEST_SECONDS * 500);
        settings.put("delivery.timeout.ms", REQUEST_SECONDS * 1000);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(settings)) {
            for (JsonNode each : command.get("records")) {
                List<Header> headers = new ArrayList<>();
                for (JsonNode header : each.get("h")) {
                    headers.add(new RecordHeader(header.get(0).asText(), bytes(header.get(1))));
                }
                Integer partition = each.hasNonNull("p") ? each.get("p").asInt() : null;
                Long timestamp = each.hasNonNull("t") ? each.get("t").asLong() : null;
                sent.add(producer.send(new ProducerRecord<>(text(command, "topic"), partition,
                        timestamp, bytes(each.get("k")), bytes(each.get("v")), headers)));
            }
            producer.flush();
        }
        ArrayNode offsets = answer.putArray("offsets");
        for (Future<RecordMetadata> future : sent) {
            RecordMetadata stored = future.get();
            offsets.addArray().add(stored.partition()).add(stored.offset());
        }
    }

    private void consume(JsonNode command, ObjectNode answer) {
        Properties settings = consumerSettings();
        settings.put("auto.offset.reset", "none");
        String topic = text(command, "topic");
        int count = command.get("count").asInt();
        settings.put("max.poll.records", Math.max(count, 1));
        ArrayNode records = answer.putArray("records");
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings)) {
            Map<TopicPartition, Long> starts = new HashMap<>();
            for (JsonNode start : command.get("starts")) {
                starts.put(new TopicPartition(topic, start.get(0).asInt()), start.get(1).asLong());
            }
            consumer.assign(starts.keySet());
            starts.forEach((at, offset) -> consumer.seek(at, offset.longValue()));
            long deadline = System.nanoTime() + command.get("timeout_ms").asLong() * 1_000_000;
            while (records.size() < count && System.nanoTime() < deadline) {
                take(consumer.poll(Duration.ofMillis(200)), records, count);
            }
        }
    }

    private void take(ConsumerRecords<byte[], byte[]> polled, ArrayNode records, int limit) {
        for (ConsumerRecord<byte[], byte[]> record : polled) {
            if (records.size() == limit) {
                return;
            }
            ObjectNode taken = records.addObject();
            taken.put("topic", record.topic()).put("p", record.partition());
            taken.put("o", record.offset()).put("t", record.timestamp());
            taken.put("k", base64(record.key())).put("v", base64(record.value()));
            ArrayNode headers = taken.putArray("h");
            for (Header header : record.headers()) {
                headers.addArray().add(header.key()).add(base64(header.value()));
            }
        }
    }

    private void offsets(JsonNode command, ObjectNode answer) throws Exception {
        List<TopicPartition> asked = partitions(command);
        ArrayNode offsets = answer.putArray("offsets");
        for (TopicPartition at : asked) {
            offsets.addArray().add(listed(at, OffsetSpec.earliest())).add(listed(at, OffsetSpec.latest()));
        }
    }

    private void offsetForTime(JsonNode command, ObjectNode answer) throws Exception {
        TopicPartition at =
                new TopicPartition(text(command, "topic"), command.get("partition").asInt());
        answer.put("offset", listed(at, OffsetSpec.forTimestamp(command.get("t").asLong())));
    }

    private long listed(TopicPartition at, OffsetSpec spec) throws Exception {
        return result(admin().listOffsets(Map.of(at, spec)).partitionResult(at)).offset();
    }

    private void subscribe(JsonNode command) {
        Properties settings = consumerSettings();
        settings.put("group.id", text(command, "group"));
        settings.put("session.timeout.ms", command.path("session_ms").asInt(6000));
        settings.put("heartbeat.interval.ms", 500);
        settings.put("partition.assignment.strategy",
                ASSIGNORS.get(text(command, "assignor", "range")).getName());
        settings.put("auto.offset.reset", text(command, "reset", "earliest"));
        settings.put("fetch.max.wait.ms", command.path("fetch_wait_ms").asInt(500));
        settings.put("metadata.max.age.ms", 1000);
        settings.put("max.poll.records", 10_000);
        if (command.hasNonNull("instance")) {
            settings.put("group.instance.id", text(command, "instance"));
        }
        List<String> topics = new ArrayList<>();
        command.get("topics").forEach(topic -> topics.add(topic.asText()));
        member = new KafkaConsumer<>(settings);
        events = json.createArrayNode();
        member.subscribe(topics, new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
                note("assigned", assigned);
            }

            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
                note("revoked", revoked);
            }

            @Override
            public void onPartitionsLost(Collection<TopicPartition> lost) {
                note("lost", lost);
            }
        });
    }

    private void note(String kind, Collection<TopicPartition> partitions) {
        ArrayNode event = events.addArray().add(kind);
        list(event.addArray(), partitions);
    }

    private void poll(JsonNode command, ObjectNode answer) {
        ConsumerRecords<byte[], byte[]> polled =
                member.poll(Duration.ofMillis(command.get("ms").asLong()));
        take(polled, answer.putArray("records"), Integer.MAX_VALUE);
        list(answer.putArray("assigned"), member.assignment());
        answer.set("events", events);
        events = json.createArrayNode();
    }

    private void commit(JsonNode command) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (JsonNode each : command.get("offsets")) {
            offsets.put(new TopicPartition(each.get(0).asText(), each.get(1).asInt()),
                    new OffsetAndMetadata(each.get(2).asLong(), each.get(3).asText()));
        }
        member.commitSync(offsets);
    }

    private void committed(JsonNode command, ObjectNode answer) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> found = result(
                admin().listConsumerGroupOffsets(text(command, "group"))
                        .partitionsToOffsetAndMetadata());
        ArrayNode committed = answer.putArray("committed");
        for (TopicPartition at : partitions(command)) {
            OffsetAndMetadata offset = found.get(at);
            if (offset == null) {
                committed.addNull();
            } else {
                committed.addArray().add(offset.offset()).add(offset.metadata());
            }
        }
    }

    private void close() {
        member.close();
        member = null;
    }

    private void initTransactions(JsonNode command) {
        Properties settings = common();
        settings.put("key.serializer", ByteArraySerializer.class);
        settings.put("value.serializer", ByteArraySerializer.class);
        settings.put("transactional.id", text(command, "transactional_id"));
        settings.put("max.block.ms", REQUEST_SECONDS * 1000);
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(settings)) {
            producer.initTransactions();
        }
    }

    private void createTopic(JsonNode command) throws Exception {
        NewTopic topic =
                new NewTopic(text(command, "topic"), command.get("partitions").asInt(), (short) 1);
        Map<String, String> configs = new HashMap<>();
        command.path("configs").properties()
                .forEach(entry -> configs.put(entry.getKey(), entry.getValue().asText()));
        result(admin().createTopics(List.of(topic.configs(configs))).all());
    }

    private void addPartitions(JsonNode command) throws Exception {
        NewPartitions wanted = NewPartitions.increaseTo(command.get("partitions").asInt());
        result(admin().createPartitions(Map.of(text(command, "topic"), wanted)).all());
    }

    private void deleteRecords(JsonNode command) throws Exception {
        TopicPartition at =
                new TopicPartition(text(command, "topic"), command.get("partition").asInt());
        RecordsToDelete before = RecordsToDelete.beforeOffset(command.get("before").asLong());
        result(admin().deleteRecords(Map.of(at, before)).all());
    }

    private void topics(ObjectNode answer) throws Exception {
        Set<String> names = result(admin().listTopics().names());
        ObjectNode topics = answer.putObject("topics");
        result(admin().describeTopics(names).allTopicNames())
                .forEach((name, found) -> topics.put(name, found.partitions().size()));
    }

    private void groups(ObjectNode answer) throws Exception {
        ArrayNode groups = answer.putArray("groups");
        result(admin().listGroups().all()).forEach(group -> groups.add(group.groupId()));
    }

    private void describeGroup(JsonNode command, ObjectNode answer) throws Exception {
        String group = text(command, "group");
        var found = result(admin().describeConsumerGroups(List.of(group)).all()).get(group);
        answer.put("state", found.groupState().toString());
        answer.put("members", found.members().size());
    }

    private void topicConfig(JsonNode command, ObjectNode answer) throws Exception {
        ConfigResource resource = resource(command);
        ObjectNode config = answer.putObject("config");
        result(admin().describeConfigs(List.of(resource)).all()).get(resource).entries()
                .forEach(entry -> config.put(entry.name(), entry.value()));
    }

    private void setTopicConfig(JsonNode command) throws Exception {
        ConfigEntry entry = new ConfigEntry(text(command, "name"), text(command, "value"));
        AlterConfigOp set = new AlterConfigOp(entry, AlterConfigOp.OpType.SET);
        result(admin().incrementalAlterConfigs(Map.of(resource(command), List.of(set))).all());
    }

    private void cluster(ObjectNode answer) throws Exception {
        var found = admin().describeCluster();
        answer.put("brokers", result(found.nodes()).size());
        answer.put("id", result(found.clusterId()));
    }

    private void quit() {
        if (member != null) {
            close();
        }
        if (admin != null) {
            admin.close();
        }
    }

    private Admin admin() {
        if (admin == null) {
            admin = Admin.create(common());
        }
        return admin;
    }

    private Properties common() {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        return settings;
    }

    private Properties consumerSettings() {
        Properties settings = common();
        settings.put("key.deserializer", ByteArrayDeserializer.class);
        settings.put("value.deserializer", ByteArrayDeserializer.class);
        settings.put("enable.auto.commit", false);
        return settings;
    }

    private static <T> T result(Future<T> future) throws Exception {
        return future.get(REQUEST_SECONDS, TimeUnit.SECONDS);
    }

    private static ConfigResource resource(JsonNode command) {
        return new ConfigResource(ConfigResource.Type.TOPIC, text(command, "topic"));
    }

    private static List<TopicPartition> partitions(JsonNode command) {
        String topic = text(command, "topic");
        return IntStream.range(0, command.get("partitions").asInt())
                .mapToObj(partition -> new TopicPartition(topic, partition))
                .collect(Collectors.toList());
    }

    private static void list(ArrayNode into, Collection<TopicPartition> partitions) {
        partitions.forEach(at -> into.addArray().add(at.topic()).add(at.partition()));
    }

    private static String text(JsonNode command, String field) {
        return command.get(field).asText();
    }

    private static String text(JsonNode command, String field, String otherwise) {
        return command.hasNonNull(field) ? command.get(field).asText() : otherwise;
    }

    private static byte[] bytes(JsonNode base64) {
        return base64.isNull() ? null : Base64.getDecoder().decode(base64.asText());
    }

    private static String base64(byte[] data) {
        return data == null ? null : Base64.getEncoder().encodeToString(data);
    }
}
