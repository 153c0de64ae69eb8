package industries.atende.ts.driver;

/** What a payload type needs of the official Java client; written from its documentation, for tests. */
public interface PayloadType<T> {
    byte[] toBytes(T value);

    java.util.Optional<T> fromBytes(byte[] buffer);
}
