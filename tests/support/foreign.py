"""Programs around generated payload types: they read payloads as hex and print the decoded values."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tsmodel.codegen import file_name, render

CLIENTS = Path(__file__).parent / "clients"
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")
SANITIZED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

C_MAIN = """\
#include <stdio.h>
#include <stdlib.h>
#include <tstorage-client/client.h>

{declared}

static const TSCLIENT_PayloadType* (*const types[])(void) = {{{names}}};

int main(void) {{
    static char hex[200000];
    int which;
    while (scanf("%d %199999s", &which, hex) == 2) {{
        size_t size = 0;
        unsigned char* octets = malloc(100000);
        for (const char* at = hex; at[0] != 0 && at[0] != '-'; at += 2) {{
            unsigned octet;
            sscanf(at, "%2x", &octet);
            octets[size++] = (unsigned char)octet;
        }}
        octets = realloc(octets, size + !size);
        const TSCLIENT_PayloadType* type = types[which]();
        char* record = malloc(type->size);
        if (type->fromBytes(record + type->offset, octets, size) != 0) {{
            puts("refused");
        }} else {{
            const size_t needed = type->toBytes(record + type->offset, NULL, 0);
            unsigned char* again = malloc(needed + !needed);
            if (needed > 0 && type->toBytes(record + type->offset, again, needed - 1) != needed) return 1;
            if (type->toBytes(record + type->offset, again, needed) != needed) return 1;
            printf("ok ");
            for (size_t i = 0; i < needed; i++) printf("%02x", again[i]);
            puts("");
            free(again);
        }}
        free(record);
        free(octets);
    }}
    return 0;
}}
"""

CPP_MAIN = """\
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

using Octets = std::vector<std::uint8_t>;
{declared}

static bool (*const types[])(const Octets&, Octets&) = {{{names}}};

int main() {{
    std::size_t which;
    std::string hex;
    while (std::cin >> which >> hex) {{
        Octets octets, again;
        for (std::size_t i = 0; hex != "-" && i < hex.size(); i += 2) {{
            octets.push_back(static_cast<std::uint8_t>(std::stoul(hex.substr(i, 2), nullptr, 16)));
        }}
        if (!types[which](octets, again)) {{
            std::cout << "refused\\n";
            continue;
        }}
        std::cout << "ok ";
        for (const std::uint8_t octet : again) {{
            const char* digits = "0123456789abcdef";
            std::cout << digits[octet >> 4] << digits[octet & 15];
        }}
        std::cout << "\\n";
    }}
    return 0;
}}
"""

CPP_UNIT = """\
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>
#include <tstorageclient++/PayloadType.h>

namespace {{
#include "{name}.hpp"
}}

bool again_{at}(const std::vector<std::uint8_t>& octets, std::vector<std::uint8_t>& again) {{
    {name} value;
    {name}PayloadType type;
    if (!type.fromBytes(value, octets.data(), octets.size())) return false;
    again.resize(type.toBytes(value, nullptr, 0));
    return type.toBytes(value, again.data(), again.size()) == again.size();
}}
"""

JAVA_MAIN = """\
import industries.atende.ts.driver.PayloadType;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.Scanner;

public final class Main {{
    private static <T> String again(PayloadType<T> type, byte[] octets) {{
        Optional<T> value = type.fromBytes(octets);
        return value.isEmpty() ? "refused" : "ok " + HexFormat.of().formatHex(type.toBytes(value.get()));
    }}

    public static void main(String[] arguments) {{
        List<PayloadType<?>> types = List.of({made});
        Scanner in = new Scanner(System.in);
        StringBuilder out = new StringBuilder();
        while (in.hasNext()) {{
            PayloadType<?> type = types.get(in.nextInt());
            String hex = in.next();
            out.append(again(type, hex.equals("-") ? new byte[0] : HexFormat.of().parseHex(hex))).append("\\n");
        }}
        System.out.print(out);
    }}
}}
"""

HEADERS = [
    "assert",
    "complex",
    "ctype",
    "errno",
    "fenv",
    "float",
    "inttypes",
    "limits",
    "locale",
    "math",
    "setjmp",
    "signal",
    "stdarg",
    "stddef",
    "stdint",
    "stdio",
    "stdlib",
    "string",
    "time",
    "wchar",
    "wctype",
    "unistd",
    "fcntl",
    "sys/types",
    "sys/stat",
    "sys/socket",
    "netinet/in",
    "netdb",
    "pthread",
    "sched",
    "strings",
]
"""Headers that a program may include before a generated one, with all their macros."""
INCLUDED = "".join(f"#include <{name}.h>\n" for name in HEADERS)

QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""Compiler flags. Programs that run for a second are not worth optimising."""
JAVA = ("java", *QUICK)
JAVAC = ("javac", *(f"-J{option}" for option in QUICK), "-Xlint:all", "-Werror")
TOOLS = {"c": "gcc", "c++": "g++", "java": "javac"}


def run(*command: object, cwd: Path, given: str = "") -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, input=given, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def has_tool(language: str) -> bool:
    return shutil.which(TOOLS[language]) is not None


def write(model: type[Any], language: str, directory: Path) -> None:
    (directory / file_name(model, language)).write_text(render(model, language), encoding="utf-8")


def name_of(model: type[Any], language: str) -> str:
    """The name of a model's class in generated code."""
    return Path(file_name(model, language)).stem


def program(language: str, models: Sequence[type[Any]], directory: Path) -> Callable[[list[tuple[int, bytes]]], list[str]]:
    """Compiles the payload types of models; returns a function from (model index, payload) pairs to answers.

    An answer is "refused", or "ok" followed by the value.
    """
    for model in models:
        write(model, language, directory)
    command = {"c": _c, "c++": _cpp, "java": _java}[language](models, directory)

    def answers(payloads: list[tuple[int, bytes]]) -> list[str]:
        given = "".join(f"{which} {payload.hex() or '-'}\n" for which, payload in payloads)
        return [line.strip() for line in run(*command, cwd=directory, given=given).splitlines()]

    return answers


def _c(models: Sequence[type[Any]], directory: Path) -> list[str]:
    declared, names, units = [], [], []
    for at, model in enumerate(models):
        name = name_of(model, "c")
        unit = directory / f"unit{at}.c"
        unit.write_text(
            f'{INCLUDED}#include "{name}.h"\nconst TSCLIENT_PayloadType* type_{at}(void);\n'
            f"const TSCLIENT_PayloadType* type_{at}(void) {{ return &{name}_payloadType; }}\n"
        )
        units.append(unit.name)
        declared.append(f"const TSCLIENT_PayloadType* type_{at}(void);")
        names.append(f"type_{at}")
    (directory / "main.c").write_text(C_MAIN.format(declared="\n".join(declared), names=", ".join(names)))
    run("gcc", "-std=c99", *STRICT, *SANITIZED, f"-I{CLIENTS / 'c'}", "main.c", *units, "-o", "main", cwd=directory)
    return ["./main"]


def _cpp(models: Sequence[type[Any]], directory: Path) -> list[str]:
    declared, names, units = [], [], []
    for at, model in enumerate(models):
        unit = directory / f"unit{at}.cpp"
        unit.write_text(INCLUDED + CPP_UNIT.format(name=name_of(model, "c++"), at=at))
        units.append(unit.name)
        declared.append(f"bool again_{at}(const Octets& octets, Octets& again);")
        names.append(f"again_{at}")
    (directory / "main.cpp").write_text(CPP_MAIN.format(declared="\n".join(declared), names=", ".join(names)))
    run("g++", "-std=c++14", *STRICT, *SANITIZED, f"-I{CLIENTS / 'cpp'}", "main.cpp", *units, "-o", "main", cwd=directory)
    return ["./main"]


def _java(models: Sequence[type[Any]], directory: Path) -> list[str]:
    made = ", ".join(f"new {name_of(model, 'java')}.PayloadType()" for model in models)
    (directory / "Main.java").write_text(JAVA_MAIN.format(made=made))
    sources = [file_name(model, "java") for model in models]
    interface = CLIENTS / "java/industries/atende/ts/driver/PayloadType.java"
    run(*JAVAC, "-d", "classes", interface, "Main.java", *sources, cwd=directory)
    return [*JAVA, "-cp", "classes", "Main"]
