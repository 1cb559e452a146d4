// Answers `swin-oracle check -- java -cp . Mine` from Java 11, without a library.  docs/protocol.md is the protocol.
//
//     SwinClient.serve(Map.of("precision", "float32", "offers", "mlp"), (words, arrays) -> Map.of("result", array));
//
// The function takes a request's words and arrays and returns the reply's arrays.  It throws Declined for what is out of
// scope, and any other exception for an error.  Arrays hold doubles, exact whatever type was sent.
import java.io.*;
import java.nio.*;
import java.nio.charset.StandardCharsets;
import java.util.*;

final class SwinClient {
    static final class Declined extends RuntimeException { Declined(String reason) { super(reason); } }

    static final class Array {
        final int[] shape; final double[] data;
        Array(int[] shape, double[] data) { this.shape = shape; this.data = data; }
    }

    interface Answer { Map<String, Array> to(Map<String, String> words, Map<String, Array> arrays) throws Exception; }

    private String header; // which the suite writes in one canonical way
    private int at;
    private void skip(String text) {
        if (!header.startsWith(text, at)) throw new IllegalArgumentException("the header is not canonical");
        at += text.length();
    }

    private String text() {
        StringBuilder found = new StringBuilder();
        for (skip("\""); header.charAt(at) != '"'; at++) // \\u is for what no name and no number has
            found.append(header.charAt(at) == '\\' ? header.charAt(++at) : header.charAt(at));
        at++;
        return found.toString();
    }

    private int[] numbers() {
        int end = header.indexOf(']', at);
        String inside = header.substring(at + 1, end);
        at = end + 1;
        return inside.isEmpty() ? new int[0] : Arrays.stream(inside.split(",")).mapToInt(Integer::parseInt).toArray();
    }

    private void parse(ByteBuffer image, Map<String, String> words, Map<String, Array> arrays) {
        int length = (int) image.getLong(0);
        header = new String(image.array(), 8, length, StandardCharsets.US_ASCII);
        for (skip("{\"__metadata__\":{"); header.charAt(at) != '}'; at += header.charAt(at) == ',' ? 1 : 0) {
            String name = text();
            skip(":");
            words.put(name, text());
        }
        for (skip("}"); header.charAt(at) == ','; skip("}")) {
            skip(",");
            String name = text();
            skip(":{\"data_offsets\":");
            int[] offsets = numbers();
            skip(",\"dtype\":");
            int size = text().equals("F64") ? 8 : 4;
            skip(",\"shape\":");
            Array array = new Array(numbers(), new double[(offsets[1] - offsets[0]) / size]);
            for (int i = 0, from = 8 + length + offsets[0]; i < array.data.length; i++)
                array.data[i] = size == 8 ? image.getDouble(from + 8 * i) : image.getFloat(from + 4 * i);
            arrays.put(name, array);
        }
    }

    private static void reply(OutputStream out, Map<String, String> words, Map<String, Array> arrays) throws IOException {
        StringJoiner said = new StringJoiner(",", "{\"__metadata__\":{", "}");
        words.forEach((name, word) -> said.add('"' + name + "\":\"" + word.replaceAll("[\"\\\\\\p{Cntrl}]", " ") + '"'));
        StringBuilder header = new StringBuilder(said.toString());
        int size = 0;
        for (Map.Entry<String, Array> one : arrays.entrySet()) {
            String shape = Arrays.toString(one.getValue().shape);
            header.append(String.format(",\"%s\":{\"data_offsets\":[%d,%d],\"dtype\":\"F64\",\"shape\":%s}",
                one.getKey(), size, size += 8 * one.getValue().data.length, shape));
        }
        byte[] text = header.append("}").toString().getBytes(StandardCharsets.UTF_8);
        ByteBuffer all = ByteBuffer.allocate(16 + text.length + size).order(ByteOrder.LITTLE_ENDIAN);
        all.putLong(8 + text.length + size).putLong(text.length).put(text);
        for (Array array : arrays.values()) for (double number : array.data) all.putDouble(number);
        out.write(all.array());
        out.flush();
    }

    static void serve(Map<String, String> about, Answer answer) throws IOException {
        InputStream in = new BufferedInputStream(System.in, 1 << 16);
        for (byte[] head; (head = in.readNBytes(8)).length == 8; ) {
            int length = (int) ByteBuffer.wrap(head).order(ByteOrder.LITTLE_ENDIAN).getLong();
            Map<String, String> words = new TreeMap<>(); Map<String, Array> arrays = new TreeMap<>();
            new SwinClient().parse(ByteBuffer.wrap(in.readNBytes(length)).order(ByteOrder.LITTLE_ENDIAN), words, arrays);
            if (words.get("cmd").equals("stop")) return;
            try {
                boolean start = words.get("cmd").equals("start");
                reply(System.out, start ? about : Map.of("ok", "1"), start ? Map.of() : answer.to(words, arrays));
            } catch (Declined reason) { reply(System.out, Map.of("declined", reason.getMessage()), Map.of());
            } catch (Exception error) { reply(System.out, Map.of("error", error.toString()), Map.of()); }
        }
    }
}
