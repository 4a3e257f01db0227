import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs the main classes of Kafka's command-line tools one after another in this process: starting
 * a JVM for each would take longer than what most of them do. Reads one JSON command a line,
 * {@code {"class": ..., "arguments": [...], "stdin": ..., "seconds": ...}}, and answers each with
 * {@code {"code": ..., "out": ..., "err": ...}}.
 */
public final class Tools {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Sink OUT = new Sink();
    private static final Sink ERR = new Sink();
    private static volatile Call current;

    /** Where a stream of this process goes now. The streams themselves stay: Scala keeps them. */
    private static final class Sink extends OutputStream {
        private ByteArrayOutputStream into = new ByteArrayOutputStream();

        @Override
        public synchronized void write(int octet) {
            into.write(octet);
        }

        @Override
        public synchronized void write(byte[] octets, int from, int count) {
            into.write(octets, from, count);
        }

        synchronized String taken() {
            String said = into.toString(StandardCharsets.UTF_8);
            into = new ByteArrayOutputStream();
            return said;
        }
    }

    /** One run of a tool, which ends when its main returns, throws, or asks to exit. */
    private static final class Call {
        final BlockingQueue<Integer> code = new LinkedBlockingQueue<>();
        final List<Runnable> hooks = new ArrayList<>();

        synchronized void hook(Runnable hook) {
            hooks.add(hook);
        }

        synchronized List<Runnable> hooks() {
            return List.copyOf(hooks);
        }
    }

    public static void main(String[] none) throws Exception {
        BufferedReader in = new BufferedReader(
                new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream answers = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        // Logs keep the standard error of the process, which is the file of the run.
        org.slf4j.LoggerFactory.getLogger(Tools.class).debug("logging has its streams");
        System.setOut(new PrintStream(OUT, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(ERR, true, StandardCharsets.UTF_8));
        Exit.setExitProcedure((code, message) -> ended(code));
        Exit.setHaltProcedure((code, message) -> ended(code));
        Exit.setShutdownHookAdder((name, hook) -> {
            Call call = current;
            if (call != null) {
                call.hook(hook);
            }
        });
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            answers.println(run(JSON.readTree(line)));
            answers.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    /** What would end the process ends the call, and the thread that asked never goes on. */
    private static void ended(int code) {
        Call call = current;
        if (call != null) {
            call.code.add(code);
        }
        while (true) {
            try {
                Thread.sleep(Long.MAX_VALUE);
            } catch (InterruptedException woken) {
                // Nothing that comes after an exit may happen.
            }
        }
    }

    private static ObjectNode run(JsonNode command) throws Exception {
        Call call = new Call();
        current = call;
        String stdin = command.path("stdin").asText("");
        System.setIn(new ByteArrayInputStream(stdin.getBytes(StandardCharsets.UTF_8)));
        List<String> arguments = new ArrayList<>();
        command.get("arguments").forEach(each -> arguments.add(each.asText()));
        Method main = Class.forName(command.get("class").asText())
                .getMethod("main", String[].class);
        Thread thread = new Thread(() -> call.code.add(returned(main, arguments)), "tool");
        thread.setDaemon(true);
        thread.start();
        Integer code = call.code.poll(command.get("seconds").asLong(), TimeUnit.SECONDS);
        ObjectNode answer = JSON.createObjectNode();
        if (code == null) {
            ERR.write("the tool did not end in time\n".getBytes(StandardCharsets.UTF_8));
            for (StackTraceElement at : thread.getStackTrace()) {
                ERR.write(("    at " + at + "\n").getBytes(StandardCharsets.UTF_8));
            }
            code = -1;
        }
        // As at the end of a process; some tools say their last words there.
        Thread hooks = new Thread(() -> call.hooks().forEach(Runnable::run), "hooks");
        hooks.setDaemon(true);
        hooks.start();
        hooks.join(10_000);
        answer.put("code", code);
        answer.put("out", OUT.taken());
        answer.put("err", ERR.taken());
        return answer;
    }

    private static int returned(Method main, List<String> arguments) {
        try {
            main.invoke(null, (Object) arguments.toArray(String[]::new));
            return 0;
        } catch (InvocationTargetException thrown) {
            thrown.getCause().printStackTrace();
            return 1;
        } catch (IllegalAccessException impossible) {
            throw new IllegalStateException(impossible);
        }
    }
}
