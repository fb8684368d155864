/** Files of a bundle, wherever they lie, and their hashes. */

package gearshift

import java.io.File
import java.security.MessageDigest

/** Where the files of a bundle are read from: a directory, or the assets of an app. */
public interface Files {
    /** Place of the bundle, for messages. */
    public val place: String

    /** Directory of the files, where graphs with weights beside them can be loaded; null if they have no paths. */
    public val directory: String? get() = null

    /** Contents of a file; raises IntegrityError if it is missing, no file, or of more than `atMost` bytes. */
    public fun read(name: String, atMost: Int): ByteArray
}

/** Files of a bundle in a directory; raises BundleError for what is none, SchemaError for a compressed one. */
public class DirectoryFiles(directory: File) : Files {
    override val place: String = directory.path
    override val directory: String = directory.path

    init {
        if (File(directory, "compressed.json").exists()) {
            throw SchemaError("$place: expected a plain bundle, found a compressed one; unpack it with `gearshift unpack`")
        }
        if (!File(directory, "manifest.json").exists()) {
            val found = if (directory.exists()) "no manifest.json in it" else "no such directory"
            throw BundleError("$place: expected a bundle directory, found $found; make one with `gearshift export`")
        }
    }

    override fun read(name: String, atMost: Int): ByteArray {
        val file = File(directory, name)
        val where = file.path
        if (!file.exists()) throw IntegrityError("$where: missing; copy the bundle again")
        val found = file.canonicalFile
        val own = File(directory).canonicalFile
        val blobs = generateSequence(own) { it.parentFile }.filter { it.name == "snapshots" }.map { File(it.parentFile, "blobs") }
        if (found.parentFile != own && found.parentFile !in blobs) {
            throw IntegrityError(
                "$where: expected a file, found a symbolic link to $found, outside of a hub cache that the bundle is in; " +
                    "copy the bundle with the files that its links name (cp -rL)",
            )
        }
        if (!found.isFile) throw IntegrityError("$where: expected a file, found a directory or device; copy the bundle again")
        if (found.length() > atMost) {
            throw IntegrityError("$where: expected $atMost bytes, found ${found.length()}; copy the bundle again")
        }
        return try {
            found.readBytes()
        } catch (error: java.io.IOException) {
            throw IntegrityError("$where: could not be read (${error.message}); check its permissions")
        }
    }
}

internal fun sha256(content: ByteArray): String =
    MessageDigest.getInstance("SHA-256").digest(content).joinToString("") { "%02x".format(it) }

/** Contents of a file of the manifest; raises IntegrityError unless size and SHA-256 are those. */
internal fun readChecked(files: Files, name: String, expected: FileFacts): ByteArray {
    val content = files.read(name, expected.bytes)
    val where = "${files.place}/$name"
    if (content.size != expected.bytes) {
        throw IntegrityError("$where: expected ${expected.bytes} bytes, found ${content.size}; copy the bundle again")
    }
    val found = sha256(content)
    if (found != expected.sha256) {
        throw IntegrityError("$where: expected sha256 ${expected.sha256}, found $found; copy the bundle again")
    }
    return content
}
