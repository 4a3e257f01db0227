import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Writes to partition 0 of a topic, by two transactional producers whose transactions overlap:
 * every third one is aborted. Takes the bootstrap address and the topic.
 */
public final class Transactions {
    private static final int ROUNDS = 8;
    private static final int RECORDS = 5;

    private Transactions() {
    }

    public static void main(String[] arguments) {
        String topic = arguments[1];
        List<KafkaProducer<String, String>> producers = new ArrayList<>();
        for (String codec : List.of("none", "zstd")) {
            Properties settings = new Properties();
            settings.put("bootstrap.servers", arguments[0]);
            settings.put("transactional.id", "writes-" + topic + "-" + codec);
            settings.put("compression.type", codec);
            settings.put("linger.ms", 20);
            producers.add(new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer()));
        }
        producers.forEach(KafkaProducer::initTransactions);
        for (int round = 0; round < ROUNDS; round++) {
            for (int at = 0; at < producers.size(); at++) {
                KafkaProducer<String, String> producer = producers.get(at);
                producer.beginTransaction();
                for (int record = 0; record < RECORDS; record++) {
                    String value = "round " + round + " of producer " + at + ", record " + record;
                    producer.send(new ProducerRecord<>(topic, 0, "key " + record, value));
                }
                producer.flush();
            }
            for (int at = 0; at < producers.size(); at++) {
                if ((round * producers.size() + at) % 3 == 2) {
                    producers.get(at).abortTransaction();
                } else {
                    producers.get(at).commitTransaction();
                }
            }
        }
        producers.forEach(KafkaProducer::close);
    }
}
