# SPDX-License-Identifier: MIT
"""Bytes that a QMP client may send and that must get one proper error: (bytes, class, what the description says).

FRESH is sent right after the greeting, READY after the negotiation.
"""

G, N = 'GenericError', 'CommandNotFound'


def cmd(name, args):
    return '{"execute": "%s", "arguments": %s}' % (name, args)


FRESH = [
    ('{"execute": "query-status"}', N, "Expecting capabilities negotiation with 'qmp_capabilities'"),
    ('{"execute": "nosuch"}', N, 'Expecting capabilities negotiation'),
    ('{"execute": "quit"}', N, 'Expecting capabilities negotiation'),
    (cmd('qmp_capabilities', '{"enable": ["oob"]}'), G, "Capability 'oob' is not available"),
    (cmd('qmp_capabilities', '{"enable": [5]}'), G, 'is not available'),
    (cmd('qmp_capabilities', '{"enable": "oob"}'), G, "Invalid parameter type for 'enable', expected: array"),
    (cmd('qmp_capabilities', '{"disable": []}'), G, "Parameter 'disable' is unexpected"),
    ('{"execute": "qmp_capabilities", "id": }', G, 'JSON parse error'),
]

READY = [
    # not JSON
    ('{"execute": }', G, 'JSON parse error'),
    ('{"execute": "stop",}', G, 'JSON parse error'),
    ('{execute: "stop"}', G, 'JSON parse error'),
    ('{"execute" "stop"}', G, 'JSON parse error'),
    ('{"execute": "stop" "id": 1}', G, 'JSON parse error'),
    ('{"execute": "stop", "execute": "cont"}', G, 'JSON parse error'),
    ('{"execute": "\\q"}', G, 'JSON parse error'),
    ('{"execute": "\\u12"}', G, 'JSON parse error'),
    ('{"execute": "sto\tp"}', G, 'JSON parse error, control character'),
    (b'{"execute": "\xc3\x28"}', G, 'JSON parse error'),
    (b'\xff', G, 'JSON parse error, stray byte 0xff'),
    (b'{"execute": [\x00', G, 'JSON parse error, stray byte 0x00'),
    ('}', G, "JSON parse error, unexpected '}'"),
    (']]]', G, "JSON parse error, unexpected ']'"),
    ('{"a": [1, 2}', G, "JSON parse error, unexpected '}'"),
    ('hello', G, 'JSON parse error'),
    ('{"id": 99999999999999999999}', G, 'JSON parse error'),
    ('{"id": 1e999}', G, 'JSON parse error'),
    ('/* comment */', G, 'JSON parse error'),
    ('{"id": nan}', G, 'JSON parse error'),
    # limits
    ('[' * 1000, G, 'JSON nesting depth limit exceeded'),
    ('{"a":' * 200 + '1' + '}' * 200, G, 'JSON nesting depth limit exceeded'),
    ('[' + '1,' * 20000 + '1]', G, 'JSON token count limit exceeded'),
    ('{"execute": "' + 'a' * 300000 + '"}', G, 'JSON token size limit exceeded'),
    # JSON, but no request
    ('[]', G, 'QMP input must be a JSON object'),
    ('5', G, 'QMP input must be a JSON object'),
    ('"stop"', G, 'QMP input must be a JSON object'),
    ('null', G, 'QMP input must be a JSON object'),
    ('{}', G, "QMP input lacks member 'execute'"),
    ('{"arguments": {}}', G, "QMP input lacks member 'execute'"),
    ('{"execute": 5}', G, "QMP input member 'execute' must be a string"),
    ('{"execute": null}', G, "QMP input member 'execute' must be a string"),
    ('{"execute": "stop", "arguments": []}', G, "QMP input member 'arguments' must be an object"),
    ('{"execute": "stop", "arguments": null}', G, "QMP input member 'arguments' must be an object"),
    ('{"execute": "stop", "bogus": 1}', G, "QMP input member 'bogus' is unexpected"),
    ('{"exec-oob": "stop"}', G, "QMP input member 'exec-oob' is unexpected"),
    # requests that cannot be served
    ('{"execute": ""}', N, 'The command  has not been found'),
    ('{"execute": "nosuch"}', N, 'The command nosuch has not been found'),
    ('{"execute": "STOP"}', N, 'The command STOP has not been found'),
    ('{"execute": "system_powerdown"}', N, 'The command system_powerdown has not been found'),
    ('{"execute": "system_reset"}', N, 'has not been found'),
    ('{"execute": "query-hotpluggable-cpus"}', N, 'has not been found'),
    ('{"execute": "xen-save-devices-state", "arguments": {"filename": "/x"}}', N, 'has not been found'),
    ('{"execute": "qmp_capabilities"}', N, 'Capabilities negotiation is already complete, command ignored'),
    (cmd('stop', '{"x": 1}'), G, "Parameter 'x' is unexpected"),
    (cmd('query-status', '{"": 1}'), G, "Parameter '' is unexpected"),
    (cmd('human-monitor-command', '{}'), G, "Parameter 'command-line' is missing"),
    (cmd('human-monitor-command', '{"command-line": 5}'), G,
     "Invalid parameter type for 'command-line', expected: string"),
    (cmd('human-monitor-command', '{"command-line": "info status", "cpu-index": "0"}'), G,
     "Invalid parameter type for 'cpu-index', expected: integer"),
    (cmd('query-command-line-options', '{"option": "nosuch"}'), G, 'Invalid option name: nosuch'),
    (cmd('query-command-line-options', '{"option": null}'), G, "Invalid parameter type for 'option'"),
    (cmd('device-list-properties', '{}'), G, "Parameter 'typename' is missing"),
    (cmd('device-list-properties', '{"typename": "nosuch"}'), 'DeviceNotFound', "Device 'nosuch' not found"),
    (cmd('device_add', '{"id": "x"}'), G, "Parameter 'driver' is missing"),
    (cmd('device_add', '{"driver": 5}'), G, "Invalid parameter type for 'driver', expected: string"),
    (cmd('device_add', '{"driver": "nosuch"}'), G, "'nosuch' is not a valid device model name"),
    (cmd('device_add', '{"driver": "virtio-rng-pci", "id": "x"}'), G, "Bus 'pcie.0' does not support hotplugging"),
    (cmd('device_add', '{"driver": "virtserialport", "nr": {"a": [1]}}'), G, "Property 'virtserialport.nr.a.0' not found"),
    (cmd('device_add', '{"driver": "virtserialport", "nr": -1}'), G, "Parameter 'nr' expects"),
    (cmd('device_add', '{"driver": "virtserialport"}'), G, "No 'virtio-serial-bus' bus found for device 'virtserialport'"),
    (cmd('device_del', '{}'), G, "Parameter 'id' is missing"),
    (cmd('device_del', '{"id": "nosuch"}'), 'DeviceNotFound', "Device 'nosuch' not found"),
    (cmd('query-balloon', '{}'), 'DeviceNotActive', 'No balloon device has been activated'),
    (cmd('balloon', '{"value": 1}'), 'DeviceNotActive', 'No balloon device has been activated'),
    (cmd('balloon', '{}'), G, "Parameter 'value' is missing"),
    (cmd('qom-get', '{"path": "/machine/peripheral/x", "property": "guest-stats"}'), 'DeviceNotFound',
     "Device '/machine/peripheral/x' not found"),
    (cmd('set_link', '{"name": "n"}'), G, "Parameter 'up' is missing"),
    (cmd('set_link', '{"name": "n", "up": "on"}'), G, "Invalid parameter type for 'up', expected: boolean"),
    (cmd('set_link', '{"name": "n", "up": true}'), 'DeviceNotFound', "Device 'n' not found"),
    (cmd('query-rx-filter', '{"name": "n"}'), G, 'invalid net client name: n'),
    (cmd('change-vnc-password', '{"password": "x"}'), G, 'Could not set password'),
]
