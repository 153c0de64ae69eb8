import java.util.Arrays;
import java.util.HexFormat;

/** Reads payloads of a meter and a letter given as hex, prints their fields, then encodes the same values and prints the bytes. */
public final class Driver {
    private static void refused(Runnable work) {
        try {
            work.run();
            throw new IllegalStateException("taken");
        } catch (IllegalArgumentException error) {
            System.out.println(error.getMessage());
        }
    }

    public static void main(String[] arguments) {
        HexFormat hex = HexFormat.of();
        Meter.PayloadType meters = new Meter.PayloadType();
        Meter meter = meters.fromBytes(hex.parseHex(arguments[0])).get();
        System.out.println(meter.counter + " " + Long.toUnsignedString(meter.total) + " " + meter.volts + " " + meter.valid + " "
            + meter.state + " " + meter.kept + " " + (meter.alarms == (Meter.Alarm.OPEN | Meter.Alarm.HOT)));
        System.out.println(meter.low + " " + meter.high + " " + meter.name.length() + " " + meter.raw[2] + " " + meter.at + " "
            + meter.price + " " + hex.formatHex(meter.serial));
        System.out.println(Arrays.toString(meter.profile) + " " + Arrays.toString(meter.names) + " " + meter.phases[0].amps + " "
            + meter.phases[1].amps + " " + meter.main.volts);
        System.out.println(meter.temp + " " + meter.level + " " + meter.limit + " " + meter.note.length() + " " + meter.default_
            + " " + (char) meter.letter);
        meter.note = new String(new char[] {0xe4, 0xf6});
        System.out.println(hex.formatHex(meters.toBytes(meter)));

        Letter.PayloadType letters = new Letter.PayloadType();
        Letter letter = letters.fromBytes(hex.parseHex(arguments[1])).get();
        System.out.println(letter.state + " " + letter.subject.length() + " " + Arrays.toString(letter.samples) + " "
            + letter.phases[0].volts + " " + letter.maybe + " " + hex.formatHex(letter.rest));
        Letter made = new Letter();
        made.state = Letter.State.ON;
        made.subject = "Gr\u00fc\u00dfe";
        made.samples = new short[] {1, -2, 300};
        Letter.Phase phase = new Letter.Phase();
        phase.volts = 1.5f;
        phase.amps = 6;
        made.phases = new Letter.Phase[] {phase};
        made.rest = new byte[] {0, -1};
        System.out.println(hex.formatHex(letters.toBytes(made)));

        refused(() -> {
            made.tag = "x".repeat(256);
            letters.toBytes(made);
        });
        refused(() -> {
            meter.low = 8;
            meters.toBytes(meter);
        });
        refused(() -> {
            meter.low = 7;
            meter.alarms = 65536;
            meters.toBytes(meter);
        });
        refused(() -> {
            meter.alarms = 0;
            meter.name = "123456789";
            meters.toBytes(meter);
        });
        refused(() -> {
            meter.name = "";
            meter.profile = new double[2];
            meters.toBytes(meter);
        });
    }
}
