/** The JSON Schema of the options: a test holds it equal to tariff/options.schema.json. */
export const schema = {
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "tariff",
  "type": "object",
  "required": [
    "currency",
    "prices"
  ],
  "additionalProperties": false,
  "properties": {
    "currency": {
      "description": "The unit of costs.",
      "type": "string",
      "minLength": 1
    },
    "prices": {
      "description": "The price of an hour of processor time, by project and hour of the day in UTC.",
      "type": "object",
      "minProperties": 1,
      "additionalProperties": {
        "description": "Every hour from 0 to 24 must have exactly one price.",
        "type": "array",
        "items": {
          "type": "object",
          "required": [
            "from",
            "to",
            "price"
          ],
          "additionalProperties": false,
          "properties": {
            "from": {
              "description": "The first hour.",
              "type": "integer",
              "minimum": 0,
              "maximum": 23
            },
            "to": {
              "description": "The hour after the last.",
              "type": "integer",
              "minimum": 1,
              "maximum": 24
            },
            "price": {
              "type": "number",
              "minimum": 0,
              "maximum": 1000000
            }
          }
        }
      }
    }
  }
};
